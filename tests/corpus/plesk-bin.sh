#!/bin/sh
# Stand-in for `plesk bin mail`, `plesk bin autoresponder` and `mail_auth_view`: over the tables of a real server, as far as the
# options are publicly known. Settings stand in DIR/settings: client (a command), database, mailnames. Every call is written to
# DIR/argv, an argument a line. A plain password is kept as `sym`, as new versions do: base64 in the place of a cipher.
DIR=${0%/*}
. "$DIR/settings"
name=${0##*/}
sql() { printf 'USE %s;\n%s\n' "$database" "$1" | $client; }
quote() { printf "'%s'" "$(printf %s "$1" | sed "s/\\\\/\\\\\\\\/g;s/'/''/g")"; }

if [ "$name" = mail_auth_view ]; then
    echo '+---------+'
    echo '| address | flags | password |'
    sql "SELECT CONCAT(m.mail_name, '@', d.name, ' ', SUBSTRING_INDEX(a.password, '\$', -1)) FROM mail m
        JOIN domains d ON d.id = m.dom_id JOIN accounts a ON a.id = m.account_id WHERE a.type = 'sym'" |
        while read -r address cipher; do
            printf '| %-20s |       | %s |\n' "$address" "$(printf %s "$cipher" | base64 -d)"
        done
    exit
fi
case $1 in
    --help)
        echo 'mail: -mailbox, -passwd, -passwd_type, -mbox_quota, -aliases, -forwarding <true|false>, -forwarding-addresses <add|del|set>:<...>'
        exit
        ;;
esac
printf '%s\n' "== $name" "$@" >>"$DIR/argv"
! grep -qx "refuse $*" "$DIR/settings.refuse" 2>/dev/null || exit 1
verb=$1
shift
if [ "$name" = autoresponder ]; then
    [ "$1" = -mail ] && address=$2 && shift 2 || { echo 'no -mail' >&2; exit 1; }
else
    address=$1
    shift
fi
user=${address%@*} domain=${address#*@}
id=$(sql "SELECT m.id FROM mail m JOIN domains d ON d.id = m.dom_id WHERE d.name = $(quote "$domain") AND m.mail_name = $(quote "$user")")
home=$mailnames/$domain/$user
case $verb in
    --create)
        [ -z "$id" ] || { echo "Mail account $address already exists." >&2; exit 1; }
        id=$(sql "INSERT INTO mail (mail_name, dom_id) SELECT $(quote "$user"), id FROM domains WHERE name = $(quote "$domain");
            SELECT LAST_INSERT_ID()")
        [ "$id" != 0 ] || { echo "no domain $domain" >&2; exit 1; }
        mkdir -p "$home"
        echo '| true' >"$home/.qmail"
        ;;
    --update | --remove)
        [ -n "$id" ] || { echo "Mail account $address does not exist." >&2; exit 1; }
        ;;
    *) echo "unknown command $verb" >&2; exit 1 ;;
esac
if [ "$verb" = --remove ]; then
    sql "DELETE FROM accounts WHERE id = (SELECT account_id FROM mail WHERE id = $id); DELETE FROM mail_aliases WHERE mn_id = $id;
        DELETE FROM mail_redir WHERE mn_id = $id; DELETE FROM mail_resp WHERE mn_id = $id; DELETE FROM mail WHERE id = $id"
    rm -rf "$home"
    exit
fi
# several TABLE COLUMN add:a,b
several() {
    for value in $(printf %s "${3#*:}" | tr , ' '); do
        case $3 in
            add:*) sql "INSERT INTO $1 (mn_id, $2) VALUES ($id, $(quote "$value"))" ;;
            del:*) sql "DELETE FROM $1 WHERE mn_id = $id AND $2 = $(quote "$value")" ;;
            *) echo "unknown $3" >&2; exit 1 ;;
        esac || exit 1
    done
}
type=plain password=
while [ $# -gt 0 ]; do
    case $name$1 in
        mail-mailbox)
            sql "UPDATE mail SET postbox = '$2' WHERE id = $id"
            [ "$2" = false ] && rm -rf "$home/Maildir" || mkdir -p "$home/Maildir/new" "$home/Maildir/cur" "$home/Maildir/tmp"
            ;;
        mail-mbox_quota) sql "UPDATE mail SET mbox_quota = IF($2 < 0, -1, $2 * 1024) WHERE id = $id" ;;
        mail-aliases) several mail_aliases alias "$2" ;;
        mail-forwarding) sql "UPDATE mail SET mail_group = '$2' WHERE id = $id" ;;
        mail-forwarding-addresses) several mail_redir address "$2" ;;
        mail-passwd) password=${2:-$PSA_PASSWORD} ;;
        mail-passwd_type) type=$2 ;;
        autoresponder-status)
            sql "INSERT INTO mail_resp (mn_id, resp_on) SELECT $id, 'false' FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM mail_resp WHERE mn_id = $id);
                UPDATE mail_resp SET resp_on = '$2' WHERE mn_id = $id"
            ;;
        autoresponder-subject) sql "UPDATE mail_resp SET subject = $(quote "$2") WHERE mn_id = $id" ;;
        autoresponder-text) sql "UPDATE mail_resp SET text = $(quote "$2") WHERE mn_id = $id" ;;
        autoresponder-format) ;;
        *) echo "unknown option $1" >&2; exit 1 ;;
    esac || exit 1
    shift 2
done
[ -z "$password" ] || {
    if [ $type = plain ]; then
        type=sym
        password='$AES-128-CBC$iv$'$(printf %s "$password" | base64)
    fi
    sql "DELETE FROM accounts WHERE id = (SELECT account_id FROM mail WHERE id = $id);
        INSERT INTO accounts (type, password) VALUES ('$type', $(quote "$password")); UPDATE mail SET account_id = LAST_INSERT_ID() WHERE id = $id"
}
