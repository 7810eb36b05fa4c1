# Runs the words from the fifth on, and writes into the file $1 how they end. $3 seconds are their limit.
file=$1 mask=$2 limit=$3 whole=$4
shift 4
umask 077
say() { printf '%s\n' "$1" >"$file.new" && mv -f "$file.new" "$file"; }
begun=$(date +%s)
exec 3<"$file.in"
rm -f "$file.in"
(umask "$mask"; exec "$@") <&3 3<&- >"$file.out" 2>"$file.err" &
child=$!
exec 3<&-
say "running $$"
doomed=$child
[ -z "$whole" ] || doomed=-$$
(
  trap 'kill "$nap" 2>/dev/null; exit' TERM
  sleep "$limit" &
  nap=$!
  wait "$nap"
  trap '' TERM
  say "late 143 $begun $(date +%s)"
  kill -s TERM -- "$doomed" 2>/dev/null || kill -s TERM "$doomed"
  sleep 3
  kill -s KILL -- "$doomed" 2>/dev/null || kill -s KILL "$doomed"
) &
watch=$!
# A signal that is handled is not ignored by what was started before, and ends no wait for good.
trap : TERM
while :; do
  wait "$child"
  status=$?
  kill -s 0 "$child" 2>/dev/null || break
done
read -r state rest <"$file"
if [ "$state" != late ]; then
  say "finished $status $begun $(date +%s)"
  kill -s TERM "$watch"
fi
