#!/bin/sh
# A fresh host: what each playbook of the corpus finds below the directory `$1`, the same every time.
set -eu
umask 022
rm -rf "$1"
mkdir -p "$1"
cd "$1"
mkdir -p etc/conf.d srv/www srv/data/deep srv/v1 srv/v2 var/log var/empty var/services bin home
printf '# main\nname = old\nport = 25\nrelay = no\n' >etc/main.conf
printf 'token = old\n' >etc/secret.conf
printf 'a = 1\nb = 2\n' >etc/conf.d/10-first.conf
printf 'c = 3' >etc/conf.d/20-second.conf
printf 'latin: gr\374n\n' >etc/latin.conf
printf '<h1>old</h1>\n' >srv/www/index.html
for name in a b c; do printf 'text %s\n' $name >srv/data/deep/$name.txt; done
printf 'one\n' >srv/v1/app
printf 'two\n' >srv/v2/app
for number in 1 2 3 4 5; do echo "line $number"; done >var/log/app.log
printf 'old\n' >var/log/app.log.1
: >var/log/empty.log
printf '#!/bin/sh\necho "tool $*"\n' >bin/tool
# A stand-in for systemd: a service is two files.
cat >bin/systemctl <<EOF
#!/bin/sh
cd "$1/var/services" || exit 1
for service; do :; done
[ "\$1" != --no-block ] || shift
case "\$*" in
show*ActiveState*) [ ! -e "\$service.running" ] || echo ActiveState=active; exit ;;
esac
case \$1 in
show) [ -e "\$service" ] && echo LoadState=loaded ;;
is-active) [ -e "\$service.running" ] ;;
is-enabled) [ -e "\$service.enabled" ] ;;
start) : >"\$service.running" ;;
enable) : >"\$service.enabled" ;;
stop) rm -f "\$service.running" ;;
disable) rm -f "\$service.enabled" ;;
restart | reload) echo "\$1 \$service" >>log ;;
*) exit 1 ;;
esac
EOF
# And one for SysV init: xinetd, whose script is in this machine's /etc.
cat >bin/service <<EOF
#!/bin/sh
cd "$1/var/services" || exit 1
[ "\$1" != --status-all ] || exit 0
case \$2 in
status) [ -e "\$1.running" ] || exit 3 ;;
start) : >"\$1.running" ;;
stop) rm -f "\$1.running" ;;
*) echo "\$2 \$1" >>log ;;
esac
EOF
chmod 755 bin/service
# Stand-ins for what changes the system itself.
mkdir -p var/system
program() { { echo '#!/bin/sh'; echo "cd '$1' || exit 1"; cat; } >"bin/$2"; chmod 755 "bin/$2"; }
program "$1/var/system" hostname <<'EOF'
case ${1--} in -*) cat name 2>/dev/null || echo old ;; *) echo "$1" >name ;; esac
EOF
program "$1/var/system" sysctl <<'EOF'
case $1 in
-n) cat "kernel.$2" 2>/dev/null || echo 7 ;;
-w) echo "${2#*=}" >"kernel.${2%%=*}" ;;
*) exit 1 ;;
esac
EOF
program "$1/var/system" iptables <<'EOF'
shift 2
verb=$1
shift
case $verb in
-C) grep -qxF -e "$*" rules 2>/dev/null ;;
-A) echo "$*" >>rules ;;
-D) rm rules ;;
*) exit 1 ;;
esac
EOF
program "$1/var/system" at <<'EOF'
if [ "$1" = -c ]; then echo '#!/bin/sh'; cat job; else cat >job; fi
EOF
program "$1/var/system" atq <<'EOF'
[ ! -e job ] || echo '1 Fri Nov 27 21:00:00 2026 a root'
EOF
program "$1/var/system" atrm <<'EOF'
rm job
EOF
for name in packages world ports; do : >var/system/$name; done
program "$1/var/system" apk <<'EOF'
while :; do case $1 in --simulate) simulate=yes ;; --*) ;; *) break ;; esac; shift; done
verb=$1
shift
has() { grep -q "^$1-[0-9]" packages; }
case $verb in
info) case $1 in -v) cat packages ;; *) has "$2" ;; esac ;;
add) for name; do
    case $name in -*) continue ;; server) all='library-1.5-r0 server-2.0-r1' ;; *) all=$name-1.0-r0 ;; esac
    for one in $all; do
      has "${one%-*-r*}" || { echo "(1/1) Installing ${one%-*-r*} (${one#"${one%-*-r*}"-})"; [ -n "$simulate" ] || echo "$one" >>packages; }
    done
    [ -n "$simulate" ] || grep -qxF "$name" world || echo "$name" >>world
  done ;;
del) for name; do
    one=$(grep "^$name-[0-9]" packages) || continue
    echo "(1/1) Purging $name (${one#"$name"-})"
    [ -n "$simulate" ] || { sed -i "/^$name-[0-9]/d" packages; sed -i "/^$name\$/d" world; }
  done ;;
esac
EOF
program "$1/var/system" pkg <<'EOF'
case "$1 $2" in
'query %v') sed -n "s/^$3 //p" ports | grep . ;;
'query '*) cat ports ;;
'info -e') grep -q "^$4 " ports ;;
'install -n') printf 'New packages to be INSTALLED:\n\t%s: 1.0_2 [FreeBSD]\n' "$4"; exit 1 ;;
'install -y') echo "$4 1.0_2" >>ports ;;
'delete -n') printf 'Installed packages to be REMOVED:\n\t%s: 1.0_2\n' "$4" ;;
'delete -y') sed -i "/^$4 /d" ports ;;
esac
EOF
# An installation's queue, with one message for one of its domains.
mkdir -p var/qmail/bin
printf '#!/bin/sh\nprintf "\\tlocal\\t7-ann@example.com\\n"\n' >var/qmail/bin/qmail-qread
printf '#!/bin/sh\necho messages in queue but not yet preprocessed: 0\n' >var/qmail/bin/qmail-qstat
chmod 755 var/qmail/bin/qmail-qread var/qmail/bin/qmail-qstat
for service in mail web; do : >var/services/$service; done
: >var/services/web.running
ln -s main.conf etc/link.conf
ln -s nowhere etc/broken
ln -s v1 srv/current
chmod 600 etc/secret.conf
chmod 755 bin/tool bin/systemctl
chmod 1777 var/empty
chmod 640 srv/www/index.html
chown nobody:nogroup srv/www/index.html home
find . ! -type l -exec touch -d '2024-01-02 03:04:05 UTC' {} +
