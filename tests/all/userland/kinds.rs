//! The userlands that there are among old mail hosts, as far as packages of this machine can stand for them.

use super::host::{Kind, PLAIN, Server};

/// What a host has to have, with nothing of what there is a replacement for.
const LEAST: &[&str] =
    &["sh", "ls", "cat", "find", "mv", "rm", "rmdir", "mkdir", "chmod", "chown", "ln", "touch", "dd", "id", "sync"];

/// What the laws and the examples of the modules call by themselves.
const CALLED: &[&str] = &[
    "head", "sleep", "printf", "env", "true", "uname", "date", "hostname", "mktemp", "tail", "cp", "sed", "grep", "tr",
    "df", "ps", "tar", "sort", "kill", "cksum",
];

pub const BASH: Kind = Kind { sh: Some("/bin/bash"), login: "/bin/bash", ..PLAIN };
pub const DASH: Kind = Kind { sh: Some("/bin/dash"), ..PLAIN };
pub const MKSH: Kind = Kind { sh: Some("/bin/mksh"), login: "/bin/mksh", ..PLAIN };
pub const KSH93: Kind = Kind { sh: Some("/bin/ksh93"), login: "/bin/ksh93", ..PLAIN };
pub const YASH: Kind = Kind { sh: Some("/usr/bin/yash"), login: "/usr/bin/yash", ..PLAIN };

pub const BUSYBOX: Kind = Kind { server: Server::Dropbear, ..PLAIN };

pub const CSH: Kind = Kind {
    login: "/bin/bsd-csh",
    home: &[(".cshrc", "set prompt = '%m%# '\nset noclobber\nalias rm 'rm -i'\nsetenv LS_COLORS x\n")],
    ..PLAIN
};
/// Two at once: the login shell is the transport's affair, and what is started below it the modules'.
pub const MKSH_BELOW_CSH: Kind = Kind { sh: MKSH.sh, ..CSH };
pub const TCSH: Kind =
    Kind { login: "/bin/tcsh", home: &[(".tcshrc", "set histchars = '!^'\necho hello from tcsh\n")], ..PLAIN };
pub const FISH: Kind = Kind {
    login: "/usr/bin/fish",
    home: &[(".config/fish/config.fish", "echo hello from fish\nset -gx FISHY yes\n")],
    ..PLAIN
};

/// Everything that greets: the shell's own file on both streams, sshd's `rc`, a banner, a message of the day.
pub const NOISY: Kind = Kind {
    login: "/bin/bash",
    home: &[
        (".bashrc", "cat /etc/motd; printf 'You have mail.\\n\\036 1 \\000 no end'; printf 'tput: no terminal' >&2\n"),
        (".ssh/rc", "cat /etc/motd; echo rc >&2\n"),
    ],
    sshd: "Banner DIR/home/.bashrc\nPrintMotd yes",
    setup: "yes 'Authorised users only. Bytes: \u{e9}' | head -n 5000 >/etc/motd",
    ..PLAIN
};

/// Each shell of ours would greet again.
pub const NOISY_BASH: Kind = Kind { sh: Some("/bin/bash"), ..NOISY };

pub const STRICT_UMASK: Kind = Kind { setup: "umask 077", ..PLAIN };

/// In German, with a comma in its numbers and in what sorts first, and with a login shell that is in it too.
pub const GERMAN: Kind = Kind {
    login: "/bin/bash",
    sshd: "SetEnv LOCPATH=DIR/locale LANG=de_DE.UTF-8 LC_ALL=de_DE.UTF-8 LANGUAGE=de",
    setup: "mkdir -p \"$DIR/locale\"\nlocaledef -i de_DE -f UTF-8 \"$DIR/locale/de_DE.UTF-8\"",
    ..PLAIN
};
/// With dash, all that differs in what modules make and read.
pub const GERMAN_STRICT: Kind = Kind {
    sh: DASH.sh,
    setup: "umask 077\nmount -t tmpfs -o noexec tmpfs /tmp\nmkdir -p \"$DIR/locale\"\nlocaledef -i de_DE -f UTF-8 \
            \"$DIR/locale/de_DE.UTF-8\"\nchmod -R a+rX \"$DIR/locale\"",
    ..GERMAN
};
/// The letters of which are not those of UTF-8.
pub const LATIN: Kind = Kind {
    login: "/bin/bash",
    sshd: "SetEnv LOCPATH=DIR/locale LANG=de_DE LC_ALL=de_DE",
    setup: "mkdir -p \"$DIR/locale\"\nlocaledef -i de_DE -f ISO-8859-1 \"$DIR/locale/de_DE\"",
    ..PLAIN
};

pub const READ_ONLY_TMP: Kind = Kind { setup: "mount -t tmpfs -o ro tmpfs /tmp", ..PLAIN };
/// Bash writes here-documents that are long to `/tmp`.
pub const READ_ONLY_TMP_BASH: Kind = Kind { sh: Some("/bin/bash"), login: "/bin/bash", ..READ_ONLY_TMP };
pub const NOEXEC_TMP: Kind = Kind { setup: "mount -t tmpfs -o noexec tmpfs /tmp", ..PLAIN };

/// No `base64`, no `stat`, no `sha256sum`, nor anything else that is not needed.
pub const NO_TOOLS: Kind = Kind { only: &[LEAST, CALLED], ..PLAIN };
/// A BSD's tools where they differ: `stat -f`, `sha256 -q`, `base64 -D`, a `mv` and a `sync` without options.
pub const BSD: Kind = Kind {
    programs: &[
        ("stat", BSD_STAT),
        (
            "sha256",
            "case $1 in -q) shift ;; *) exit 64 ;; esac\nPATH=/usr/bin:/bin\nsha256sum \"$@\" | { read -r sum rest; echo \"$sum\"; }",
        ),
        ("sha256sum", "exit 127"),
        ("base64", "case $1 in -D) exec /usr/bin/base64 -d ;; *) echo 'base64: invalid option' >&2; exit 64 ;; esac"),
        ("mv", "case $1 in --) ;; -*[!fhinv]*) echo 'mv: illegal option' >&2; exit 64 ;; esac\nexec /bin/mv \"$@\""),
        ("sync", "case $1 in --help) exit 1 ;; esac\nexec /bin/sync"),
        ("openssl", "exit 127"),
        ("getent", "exit 127"),
        ("setsid", "exit 127"),
    ],
    ..PLAIN
};

const BSD_STAT: &str = r#"links= format=
while :; do
  case $1 in
  -L) links=-L; shift ;;
  -f) format=$2; shift 2 ;;
  -Lf) links=-L format=$2; shift 2 ;;
  --) shift; break ;;
  -*) echo "stat: illegal option -- ${1#-}" >&2; exit 1 ;;
  *) break ;;
  esac
done
status=0
for file; do
  # The name last, because it may hold anything.
  if ! line=$(/usr/bin/stat $links -c '%f %u %g %s %Y %U %G %d %A' -- "$file" 2>&1); then echo "$line" >&2; status=1; continue; fi
  set -- $line
  mode=$(printf %o "0x$1")
  rest=$format out=
  while [ -n "$rest" ]; do
    case $rest in
    %p*) out=$out$mode rest=${rest#%p} ;;
    %Lp*) out=$out$(printf %o $((0x$1 & 511))) rest=${rest#%Lp} ;;
    %Sp*) out=$out$9 rest=${rest#%Sp} ;;
    %u*) out=$out$2 rest=${rest#%u} ;;
    %g*) out=$out$3 rest=${rest#%g} ;;
    %z*) out=$out$4 rest=${rest#%z} ;;
    %m*) out=$out$5 rest=${rest#%m} ;;
    %Su*) out=$out$6 rest=${rest#%Su} ;;
    %Sg*) out=$out$7 rest=${rest#%Sg} ;;
    %d*) out=$out$8 rest=${rest#%d} ;;
    %N*) out=$out$file rest=${rest#%N} ;;
    *) next=${rest#?} out=$out${rest%"$next"} rest=$next ;;
    esac
  done
  printf '%s\n' "$out"
done
exit $status"#;

pub const ONE_SESSION: Kind = Kind { sshd: "MaxSessions 1", ..PLAIN };
