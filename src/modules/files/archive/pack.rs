//! What packs files into an archive on a host: its tar or zip, and what compresses.

use crate::host::View;
use crate::modules::ModuleError;
use crate::modules::files::unarchive::SUM;
use crate::modules::system::SCRATCH;
use crate::transport::command::quote;
use crate::transport::name::to_bytes;
use crate::transport::{Body, Command, Content, Digest};

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Bz2,
    Gz,
    Tar,
    Xz,
    Zip,
}

impl Format {
    /// Returns the end of a file's name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Bz2 => "bz2",
            Format::Gz => "gz",
            Format::Tar => "tar",
            Format::Xz => "xz",
            Format::Zip => "zip",
        }
    }

    /// Returns what compresses its standard input, the same bytes each time.
    fn compressor(self) -> Option<&'static str> {
        match self {
            Format::Bz2 => Some("bzip2 -c"),
            Format::Gz => Some("gzip -n -c"),
            Format::Xz => Some("xz -c"),
            Format::Tar | Format::Zip => None,
        }
    }

    /// Says whether one file becomes an archive all the same.
    pub fn always_archives(self) -> bool {
        self.compressor().is_none()
    }
}

/// What is packed.
pub enum What<'a> {
    /// The content of one file.
    File(&'a str),
    /// Names below a directory, in their order.
    Names { root: &'a str, names: &'a [String] },
}

/// Prints the same bytes for the same files: no time and no process of the packing itself is in them.
const TAR: &str = r#"tar=$(command -v gtar || command -v tar) || { echo 'neither gtar nor tar is there' >&2; exit 127; }
cd -- "$root" || exit
case $("$tar" --version 2>/dev/null) in
*GNU*) pack() { "$tar" --format=gnu --no-recursion --null -T - -cf -; } ;;
# Those of Debian take no list of names.
*busybox*) pack() { set --; eval "$(tr '\0' '\n' | sed "s/'/'\\\\''/g; s/^/set -- \"\$@\" '/; s/\$/'/")"; "$tar" --no-recursion -cf - "$@"; } ;;
*) echo "$tar is neither GNU's tar nor that of busybox" >&2; exit 1 ;;
esac
"#;

const ZIP: &str = r#"command -v zip >/dev/null || { echo 'Failed to find required executable "zip"' >&2; exit 127; }
cd -- "$root" || exit
pack() { tr '\0' '\n' | zip -q -X -y - -@; }
"#;

/// Runs `pack | $compress`, and ends as the first that fails.
const COMPRESSED: &str = r#"all() {
  exec 4>&1
  status=$({ { pack; echo $? >&3; } | $compress >&4; } 3>&1)
  [ "$status" = 0 ]
}
"#;

/// Prints the digest and the size of what `all` prints, in one pass and without keeping it.
const MEASURE: &str = r#"mkfifo "$new/all" || exit
wc -c <"$new/all" >"$new/size" &
{ all || : >"$new/failed"; } | tee "$new/all" | $sum >"$new/sum"
wait
[ ! -e "$new/failed" ] || exit 1
cat "$new/sum" "$new/size"
"#;

/// Returns the content that an archive would have: it is packed twice, to know it and to write it.
pub async fn content(host: &View, format: Format, what: &What<'_>) -> Result<Content, ModuleError> {
    if let What::Names { names, .. } = what
        && let Some(name) = names.iter().find(|name| name.contains('\n'))
    {
        return Err(ModuleError::failed(format!("a name with the end of a line in it cannot be packed: {name:?}")));
    }
    let measure = command(format, what, &format!("{SCRATCH}{SUM}"), MEASURE);
    let output = host.probe(&measure).await?;
    let text = output.text();
    let mut words = text.split_whitespace();
    let (digest, size) = (words.next(), text.split_whitespace().next_back().and_then(|size| size.parse().ok()));
    match (output.success(), digest, size) {
        (true, Some(digest), Some(size)) => {
            let by = Box::new(command(format, what, "", "all\n"));
            Ok(Content { size, digest: Some(Digest(digest.into())), body: Body::Printed { by, here: false } })
        }
        _ => {
            let why = output.error_text();
            Err(ModuleError::failed(format!("Error when writing {} archive: {}", format.name(), why.trim_end())))
        }
    }
}

fn command(format: Format, what: &What<'_>, before: &str, then: &str) -> Command {
    let compress = format.compressor().unwrap_or("cat");
    let (pack, names): (String, String) = match what {
        What::File(path) => (format!("pack() {{ cat -- {}; }}\n", quote(path)), String::new()),
        What::Names { root, names } => {
            let how = if format == Format::Zip { ZIP } else { TAR };
            (format!("root={}\n{how}", quote(root)), names.iter().map(|name| format!("{name}\0")).collect())
        }
    };
    let there =
        "command -v \"${compress%% *}\" >/dev/null || { echo \"${compress%% *} is not there\" >&2; exit 127; }\n";
    let mut command = Command::shell(format!(
        "LC_ALL=C.UTF-8; export LC_ALL\n{before}compress={}\n{there}{pack}{COMPRESSED}{then}",
        quote(compress)
    ));
    command.stdin = to_bytes(&names).into_owned();
    command
}
