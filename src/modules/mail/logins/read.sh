# Prints lines of fields with tabs between: who logged in (`l`: user, service, TLS, address, name, how often, when first, when
# last, from where last, from how many addresses), and how far that goes. $days, $budget, $readable and `unpack` are there;
# standard input was domains (`d`) and clients (`c`).
offset=$(date +%z)
case $offset in
[+-][0-9][0-9][0-9][0-9]) ;;
*) offset=+0000 ;;
esac
now=$(date +%s)
printf 'n\t%s\t%s\n' "$now" "$((now - days * 86400))"
tab=$(printf '\t')
# The newest first, each once: a link to a log is that log.
sized=$(ls -lLit -- $readable | awk '{
  inode = $1 " " $6; size = $6; path = $0
  sub(/^ */, "", path)
  for (at = 1; at < 10; at++) sub(/^[^ ]+ +/, "", path)
  if (!(inode in seen)) print size "\t" path
  seen[inode]
}')
left=$budget
chosen=
for entry in $sized; do
  size=${entry%%"$tab"*} file=${entry#*"$tab"}
  # What was packed becomes about ten times as large.
  [ "$(tool "$file")" = cat ] || size=$((size * 10))
  if [ "$size" -le "$left" ]; then take=all
  elif [ "$left" -gt 0 ] && [ "$(tool "$file")" = cat ]; then take=$left
  else take=0; fi
  [ "$take" = all ] || printf 't\t%s\t%s\n' "$file" "$take"
  [ "$take" = 0 ] || chosen="$chosen$take$tab$file$IFS"
  left=$((left > size ? left - size : 0))
done
{
  printf '%s\n\n' "$wanted"
  for entry in $chosen; do
    take=${entry%%"$tab"*} file=${entry#*"$tab"}
    case $take in
    all) unpack "$file" ;;
    *) tail -c "$take" -- "$file" ;;
    esac
  done | tr -d '\000' | grep -E ': LOGIN, user=|-login: (Info: )?(Login|Logged in): user=<|smtp_auth.* logged in from |: (\([A-Za-z0-9-]+\) )?login success |tcpserver: ok '
} | awk -v now="$now" -v since="$((now - days * 86400))" -v offset="$offset" -v year="$(date +%Y)" '
function between(text, left, right,  at) {
  if (!(at = index(text, left))) return ""
  text = substr(text, at + length(left))
  return (at = index(text, right)) ? substr(text, 1, at - 1) : text
}
function civil(y, m, d) {
  # Days since 1970-01-01.
  if (m <= 2) { y--; m += 12 }
  return 365 * y + int(y / 4) - int(y / 100) + int(y / 400) + int((153 * (m - 3) + 2) / 5) + d - 719469
}
function clock(text) { return 3600 * substr(text, 1, 2) + 60 * substr(text, 4, 2) + substr(text, 7, 2) }
function away(zone,  sum) {
  sub(/:/, "", zone)
  sum = 3600 * substr(zone, 2, 2) + 60 * substr(zone, 4, 2)
  return substr(zone, 1, 1) == "-" ? -sum : sum
}
function seconds(  at, n, month, time, zone) {
  if (length($1) == 25 && $1 ~ /^@4[0-9a-f]*$/) {
    # TAI64N: 2^62 + 10 seconds before 1970.
    for (at = 10; at <= 17; at++) n = n * 16 + index("0123456789abcdef", substr($1, at, 1)) - 1
    return n - 10
  }
  if ($1 ~ /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]/) {
    time = 86400 * civil(substr($1, 1, 4) + 0, substr($1, 6, 2) + 0, substr($1, 9, 2) + 0)
    if (substr($1, 11, 1) != "T") return time + clock($2) - away(offset)
    zone = substr($1, 20)
    sub(/^[.,][0-9]+/, "", zone)
    time += clock(substr($1, 12, 8))
    return zone == "Z" ? time : time - away(zone ~ /^[+-]/ ? zone : offset)
  }
  month = index("JanFebMarAprMayJunJulAugSepOctNovDec", $1)
  if (length($1) == 3 && month % 3 == 1 && $3 ~ /^[0-9][0-9]:[0-9][0-9]:[0-9][0-9]/) {
    month = (month + 2) / 3
    time = 86400 * civil(year + 0, month, $2 + 0) + clock($3) - away(offset)
    # syslog writes no year.
    return time > now + 86400 ? 86400 * civil(year - 1, month, $2 + 0) + clock($3) - away(offset) : time
  }
  return -1
}
BEGIN {
  by_port[110] = by_port[995] = "pop3"; by_port[143] = by_port[993] = "imap"; by_port[587] = by_port[465] = "submission"
  with_tls[995] = with_tls[993] = with_tls[465] = 1
}
!body {
  if ($0 == "") body = 1
  else if ($1 == "d") wanted[$2]
  else if ($1 == "c") { only[$2]; bound = 1 }
  next
}
{
  user = service = client = address = name = ""; tls = 0
  if (at = index($0, ": LOGIN, user=")) {
    # courier: `pop3d-ssl: LOGIN, user=ann@example.com, ip=[::ffff:198.51.100.7], port=[51234]`
    head = substr($0, 1, at - 1); rest = substr($0, at + 14)
    sub(/: INFO$/, "", head); sub(/.* /, "", head); sub(/\[[0-9]*\]$/, "", head); sub(/^courier-/, "", head)
    if (head !~ /^(pop3|imap)/) next
    service = substr(head, 1, 4); tls = head ~ /s$|ssl$/
    user = rest; sub(/, .*/, "", user); client = between(rest, "ip=[", "]")
  } else if (match($0, /(pop3|imap|submission|managesieve)-login: (Info: )?(Login|Logged in): user=</)) {
    # dovecot: `pop3-login: Login: user=<ann@example.com>, method=PLAIN, rip=198.51.100.7, lip=10.77.0.10, mpid=1, TLS`
    rest = substr($0, RSTART); service = rest; sub(/-login:.*/, "", service)
    user = between(rest, "user=<", ">"); rest = substr(rest, index(rest, ">") + 1)
    client = between(rest, "rip=", ","); address = between(rest, "lip=", ","); name = between(rest, "local_name=", ",")
    gsub(/[<>]/, "", name); tls = rest ~ /, TLS/
  } else if (/smtp_auth/ && (at = index($0, " logged in from "))) {
    # Plesk: `smtp_auth: SMTP user ann : /var/qmail/mailnames/example.com/ann logged in from unknown@host [198.51.100.7]`
    service = "smtp"; head = substr($0, 1, at - 1); user = between(head, " user ", " "); client = between(substr($0, at), "[", "]")
    if (user !~ /@/ && (count = split(head, part, "/")) > 2) user = part[count] "@" part[count - 1]
  } else if (match($0, /vchkpw-[a-z0-9]+: (\([A-Za-z0-9-]+\) )?login success /)) {
    # vpopmail: `vchkpw-pop3: (PLAIN) login success ann@example.com:198.51.100.7`
    service = substr($0, RSTART + 7); sub(/:.*/, "", service)
    if (service in by_port) { tls = service in with_tls; service = by_port[service] }
    else tls = sub(/s$/, "", service)
    user = substr($0, RSTART + RLENGTH); sub(/ .*/, "", user)
    client = user; sub(/^[^:]*:/, "", client); sub(/:.*/, "", user)
  } else if (match($0, /tcpserver: ok [0-9]+ /)) {
    # ucspi-tcp: `tcpserver: ok 71 pop.example.com:10.77.0.10:110 host.isp.example:198.51.100.7::51234`
    if (split(substr($0, RSTART + RLENGTH), part, " ") < 2) next
    port = name = part[1]; sub(/:.*/, "", name); sub(/.*:/, "", port)
    # Other servers come to port 25, too.
    if (!(port in by_port)) next
    service = by_port[port]; tls = port in with_tls
    address = substr(part[1], length(name) + 2, length(part[1]) - length(name) - length(port) - 2)
    client = part[2]; sub(/^[^:]*:/, "", client); sub(/:[^:]*$/, "", client); sub(/:[^:]*$/, "", client)
    if (name == "0") name = ""
  } else next
  sub(/ .*/, "", client); sub(/ .*/, "", address); sub(/ .*/, "", name)
  sub(/^::ffff:/, "", client); sub(/^::ffff:/, "", address)
  if (bound && !(client in only)) next
  user = tolower(user); gsub(/\t/, " ", user); domain = user
  if (sub(/.*@/, "", domain) && !(domain in wanted)) next
  if ((stamp = seconds()) < 0) { unread++; next }
  if (first == "" || stamp < first) first = stamp
  if (stamp < since) next
  key = user "\t" service "\t" (tls ? 1 : 0) "\t" address "\t" name
  if (!count_of[key]++ || stamp < first_of[key]) first_of[key] = stamp
  if (stamp >= last_of[key]) { last_of[key] = stamp; from_of[key] = client }
  if (!((key, client) in came)) { came[key, client]; clients_of[key]++ }
}
END {
  for (key in count_of)
    printf "l\t%s\t%d\t%.0f\t%.0f\t%s\t%d\n", key, count_of[key], first_of[key], last_of[key], from_of[key], clients_of[key]
  if (first != "") printf "s\t%.0f\n", first
  if (unread) print "b\t" unread
}'
