#!/bin/sh
# Removes what install.sh put below a prefix, and folders that are empty then: uninstall.sh PREFIX
set -eu
case ${1:-} in
/*) [ $# -eq 1 ] || refused=yes ;;
*) refused=yes ;;
esac
if [ "${refused:-}" ]; then
  echo "usage: uninstall.sh PREFIX: an absolute path (/ for the root)" >&2
  exit 2
fi
place=${DESTDIR:-}$1
if [ ! -f "$place/share/ollm/installed" ]; then
  echo "uninstall: nothing of ollm is installed below $place ($place/share/ollm/installed is not there)" >&2
  exit 1
fi
# Nothing outside the prefix, whatever the list says.
grep -v -e '^/' -e '\.\.' -e '^$' "$place/share/ollm/installed" | sort -u >"$place/share/ollm/removing"
while read -r file; do
  [ -d "$place/$file" ] && [ ! -L "$place/$file" ] || rm -f "$place/$file"
done <"$place/share/ollm/removing"
folders=$(while read -r file; do dirname "$file"; done <"$place/share/ollm/removing" | sort -u)
rm -f "$place/share/ollm/removing"
for folder in $folders; do
  while [ "$folder" != . ] && rmdir "$place/$folder" 2>/dev/null; do folder=$(dirname "$folder"); done
done
