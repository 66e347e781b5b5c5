#!/bin/sh
# Installs below a prefix: install.sh LIBRARY_DIR PREFIX [COMMANDS_DIR]
#
# LIBRARY_DIR has libollm.a, and libollm.so (Linux), libollm.dylib (macOS) or ollm.dll and
# libollm.dll.a (a build for Windows by MinGW); COMMANDS_DIR the commands, which write their man
# pages and shell completions themselves. DESTDIR is put before every path, as packagers want it.
# Files and folders that were made, now and before, are listed in PREFIX/share/ollm/installed
# (folders end with a slash), which `uninstall.sh PREFIX` reads. A file of something else is never
# overwritten.
set -eu
case ${2:-} in
/*)
  [ $# -le 3 ] && [ -f "$1/libollm.a" ] || refused=yes
  [ -f "$1/libollm.so" ] || [ -f "$1/libollm.dylib" ] || [ -f "$1/libollm.dll.a" ] || refused=yes
  ;;
*) refused=yes ;;
esac
for command in ${3:+ollm-run ollm-convert ollm-train}; do [ -x "$3/$command" ] || refused=yes; done
if [ "${refused:-}" ]; then
  echo "usage: install.sh LIBRARY_DIR PREFIX [COMMANDS_DIR]: PREFIX is an absolute path (/ for the root)," \
    "LIBRARY_DIR has libollm.a and libollm.so, libollm.dylib or libollm.dll.a, COMMANDS_DIR ollm-run, ollm-convert and ollm-train" >&2
  exit 2
fi
library=$1 prefix=$2 commands=${3:-}
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
place=${DESTDIR:-}$prefix list=share/ollm/installed
: >"$work/before"
if [ -f "$place/$list" ]; then cp "$place/$list" "$work/before"; fi

# put MODE FILE PLACE: stages a file for a place below the prefix.
put() {
  mkdir -p "$work/stage/$(dirname "$3")"
  install -m "$1" "$2" "$work/stage/$3"
  echo "$3" >>"$work/files"
}

# The library, for programs that run with it and for programs that are built with it.
put 644 "$root/include/ollm.h" include/ollm.h
put 644 "$root/include/ollm.hpp" include/ollm.hpp
# shared FILE NAME: the shared library under its versioned name, and a link to that.
shared() {
  put 755 "$library/$1" "lib/$2"
  ln -s "$2" "$work/stage/lib/$1"
  echo "lib/$1" >>"$work/files"
}
if [ -f "$library/libollm.so" ]; then
  shared libollm.so libollm.so.1
  private="-lutil -lrt -lpthread -lm -ldl"
elif [ -f "$library/libollm.dylib" ]; then
  shared libollm.dylib libollm.1.dylib
  private=""
else
  put 755 "$library/ollm.dll" bin/ollm.dll
  put 644 "$library/libollm.dll.a" lib/libollm.dll.a
  private="-lkernel32 -lntdll -luserenv -lws2_32 -ldbghelp"
fi
put 644 "$library/libollm.a" lib/libollm.a
sed -e "s/@VERSION@/$version/" -e "s/@PRIVATE@/$private/" "$here/ollm.pc.in" >"$work/ollm.pc"
put 644 "$work/ollm.pc" lib/pkgconfig/ollm.pc
put 644 "$here/ollm-config.cmake" lib/cmake/ollm/ollm-config.cmake
sed "s/@VERSION@/$version/" "$here/ollm-config-version.cmake.in" >"$work/ollm-config-version.cmake"
put 644 "$work/ollm-config-version.cmake" lib/cmake/ollm/ollm-config-version.cmake
for licence in LICENSE-MIT LICENSE-APACHE; do put 644 "$root/$licence" "share/doc/ollm/$licence"; done

# The commands.
for command in ${commands:+ollm-run ollm-convert ollm-train}; do
  put 755 "$commands/$command" "bin/$command"
  mkdir "$work/$command"
  "$commands/$command" manual "$work/$command"
  for page in "$work/$command"/*.1; do put 644 "$page" "share/man/man1/$(basename "$page")"; done
  put 644 "$work/$command/$command.bash" "share/bash-completion/completions/$command"
  put 644 "$work/$command/_$command" "share/zsh/site-functions/_$command"
  put 644 "$work/$command/$command.fish" "share/fish/vendor_completions.d/$command.fish"
done

# Files of something else stay.
while read -r file; do
  if [ -e "$place/$file" ] || [ -L "$place/$file" ]; then
    grep -qxF "$file" "$work/before" || echo "$place/$file" >>"$work/foreign"
  fi
done <"$work/files"
if [ -f "$work/foreign" ]; then
  echo "install: these files are there, and this did not install them; nothing was changed." \
    "Remove them, or choose another prefix:" >&2
  cat "$work/foreign" >&2
  exit 1
fi

# The list first: an installation that is cut short can be uninstalled.
echo "$list" >>"$work/files"
while read -r file; do
  folder=$(dirname "$file")
  while [ "$folder" != . ] && [ ! -d "$place/$folder" ]; do
    echo "$folder/" >>"$work/folders"
    folder=$(dirname "$folder")
  done
done <"$work/files"
touch "$work/folders"
mkdir -p "$place/$(dirname "$list")"
sort -u "$work/before" "$work/files" "$work/folders" >"$work/list"
install -m 644 "$work/list" "$place/$list"
while read -r file; do
  [ "$file" != "$list" ] || continue
  mkdir -p "$place/$(dirname "$file")"
  # A new file takes the place of an old one: a program that runs with the old one keeps it.
  rm -f "$place/$file"
  cp -P -p "$work/stage/$file" "$place/$file"
done <"$work/files"
