#!/bin/sh
# Removes what install.sh put below a prefix, and folders that are empty then: uninstall.sh PREFIX
set -eu
place=${DESTDIR:-}$1
if [ ! -f "$place/share/ollm/installed" ]; then
  echo "uninstall: nothing of ollm is installed below $place ($place/share/ollm/installed is not there)" >&2
  exit 1
fi
sort -u "$place/share/ollm/installed" >"$place/share/ollm/removing"
while read -r file; do
  rm -f "$place/$file"
done <"$place/share/ollm/removing"
folders=$(while read -r file; do dirname "$file"; done <"$place/share/ollm/removing" | sort -u)
rm -f "$place/share/ollm/removing"
for folder in $folders; do
  while [ "$folder" != . ] && rmdir "$place/$folder" 2>/dev/null; do folder=$(dirname "$folder"); done
done
