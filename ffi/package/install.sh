#!/bin/sh
# Installs below a prefix (Linux): install.sh LIBRARY_DIR PREFIX [COMMANDS_DIR]
#
# LIBRARY_DIR has libollm.so and libollm.a; COMMANDS_DIR the commands, which write their man pages
# and shell completions themselves. DESTDIR is put before every path, as packagers want it. What was
# installed, now and before, is listed in PREFIX/share/ollm/installed, which `uninstall.sh PREFIX`
# reads.
set -eu
case ${2:-} in
/*) [ $# -le 3 ] && [ -f "$1/libollm.so" ] && [ -f "$1/libollm.a" ] || refused=yes ;;
*) refused=yes ;;
esac
for command in ${3:+ollm-run ollm-convert ollm-train}; do [ -x "$3/$command" ] || refused=yes; done
if [ "${refused:-}" ]; then
  echo "usage: install.sh LIBRARY_DIR PREFIX [COMMANDS_DIR]: PREFIX is an absolute path (/ for the root)," \
    "LIBRARY_DIR has libollm.so and libollm.a, COMMANDS_DIR ollm-run, ollm-convert and ollm-train" >&2
  exit 2
fi
library=$1 prefix=$2 commands=${3:-}
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
list=share/ollm/installed
: >"$work/installed"
if [ -f "${DESTDIR:-}$prefix/$list" ]; then cp "${DESTDIR:-}$prefix/$list" "$work/installed"; fi

# put MODE FILE PLACE: a file at a place below the prefix.
put() {
  mkdir -p "${DESTDIR:-}$prefix/$(dirname "$3")"
  install -m "$1" "$2" "${DESTDIR:-}$prefix/$3"
  echo "$3" >>"$work/installed"
}

# The library, for programs that run with it and for programs that are built with it.
put 644 "$root/include/ollm.h" include/ollm.h
put 644 "$root/include/ollm.hpp" include/ollm.hpp
put 755 "$library/libollm.so" lib/libollm.so.1
ln -sfn libollm.so.1 "${DESTDIR:-}$prefix/lib/libollm.so"
echo lib/libollm.so >>"$work/installed"
put 644 "$library/libollm.a" lib/libollm.a
sed "s/@VERSION@/$version/" "$here/ollm.pc.in" >"$work/ollm.pc"
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

echo "$list" >>"$work/installed"
sort -u "$work/installed" >"$work/list"
put 644 "$work/list" "$list"
