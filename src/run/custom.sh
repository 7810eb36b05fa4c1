# Runs the module that comes on stdin behind $c_lines lines of arguments; the words are those of its `#!` line.
umask 077
c_dir=$(mktemp -d "${TMPDIR:-/tmp}/cutover.XXXXXX") || exit 1
trap 'rm -rf "$c_dir"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
while [ "$c_lines" -gt 0 ]; do
  IFS= read -r c_line || exit 1
  printf '%s\n' "$c_line"
  c_lines=$((c_lines - 1))
done >"$c_dir/args"
cat >"$c_dir/$c_name" && chmod 700 "$c_dir/$c_name" || exit 1
# `/usr/bin/python` stands for the Python that the host has.
case ${1:-} in
*/python | */python3 | */python2)
  if [ ! -x "$1" ]; then
    c_python=$(command -v python3 || command -v python) || {
      echo "the module needs Python, which the host does not have" >&2
      exit 127
    }
    shift
    set -- "$c_python" "$@"
  fi
  ;;
esac
"$@" "$c_dir/$c_name" "$c_dir/args" </dev/null
