#!/bin/sh
# Removes what install.sh put below a prefix, and the folders that it made and that are empty then:
# uninstall.sh PREFIX
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
# Nothing outside the prefix, whatever the list says. Deepest first: files, then their folders.
list=$(mktemp)
trap 'rm -f "$list"' EXIT
grep -v -e '^/' -e '\.\.' -e '^$' "$place/share/ollm/installed" | sort -ru >"$list" || true
while read -r file; do
  case $file in
  */) ;;
  *) [ -d "$place/$file" ] && [ ! -L "$place/$file" ] || rm -f "$place/$file" ;;
  esac
done <"$list"
while read -r folder; do
  case $folder in
  */) rmdir "$place/$folder" 2>/dev/null || true ;;
  esac
done <"$list"
