//! An archive, read by the tar or the unzip of the machine that it is on. Nothing is extracted there.

use tempfile::NamedTempFile;

use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::command::quote;
use crate::transport::{Body, Command, Content, Digest, INLINE_LIMIT};

use super::listing::{self, Member};

/// The most bytes of names that one reading of the archive is asked for: they travel in one variable.
const NAMES: usize = 60 * 1024;

/// An archive and the machine that reads it.
pub struct Archive {
    pub machine: View,
    pub path: String,
    /// On the controller, not on the task's host.
    pub here: bool,
    /// It is a file of this process alone: nothing can be read from it when the changes are made.
    pub own: Option<NamedTempFile>,
    /// Options for the tool, and the members that are meant.
    pub options: Vec<String>,
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}

/// What kind of archive it is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Zip,
    /// Packed by the program whose handler Ansible names so; read by GNU's tar, or by another.
    Tar {
        handler: &'static str,
        gnu: bool,
    },
}

/// Sets `$tar`, `$gnu` and `$unpack`. busybox has to be told how an archive is packed.
const TAR: &str = r#"tar=$(command -v gtar || command -v tar) || {
  echo 'Unable to find required "gtar" or "tar" binary in the path' >&2; exit 127; }
unpack=
case $("$tar" --version 2>/dev/null) in
*GNU*) gnu=gnu ;;
*busybox*) gnu=other
  for unpack in '' z j J Z; do "$tar" -t${unpack}f "$archive" >/dev/null 2>&1 && break; done ;;
*) echo "$tar is neither GNU's tar nor that of busybox" >&2; exit 1 ;;
esac
"#;

const UNZIP: &str = r#"unzip=$(command -v unzip) || {
  echo 'Unable to find required "unzip" or "zipinfo" binary in the path' >&2; exit 127; }
"#;

/// Sets `$sum`, which prints a SHA-256 and what else it likes.
pub const SUM: &str = r#"works() { "$@" </dev/null >/dev/null 2>&1; }
if works sha256sum; then sum=sha256sum
elif works sha256 -q; then sum='sha256 -q'
elif works openssl dgst -sha256 -r; then sum='openssl dgst -sha256 -r'
elif command -v shasum >/dev/null; then sum='shasum -a 256'
else echo 'neither sha256sum nor openssl is there to compare with' >&2; exit 127; fi
"#;

impl Archive {
    /// Returns the format, and the members in their order.
    pub async fn list(&self, numeric: bool) -> Result<(Format, Vec<Member>), ModuleError> {
        let wrong = |why: &str| ModuleError::failed(format!("Unable to list files in the archive: {}", why.trim_end()));
        let numbers = if numeric { "--numeric-owner" } else { "" };
        let script = format!(
            "dd if=\"$archive\" bs=6 count=1 2>/dev/null; echo\n\
             case $(dd if=\"$archive\" bs=2 count=1 2>/dev/null) in\n\
             PK) {UNZIP}\"$unzip\" -Z -s -T \"$archive\" {} ;;\n\
             *) {TAR}echo $gnu\n\
             if [ $gnu = gnu ]; then set -- --full-time --quoting-style=escape --show-transformed-names {numbers}; else set --; fi\n\
             \"$tar\" -tv$unpack \"$@\" {} ;;\nesac",
            self.zip_words(),
            self.tar_words()
        );
        let output = self.machine.probe(&self.command(&script)).await?;
        if !output.success() {
            return Err(wrong(&output.error_text()));
        }
        let (magic, rest) = match output.stdout.get(6) {
            Some(b'\n') => output.stdout.split_at(7),
            _ => return Err(wrong("it is too short to be one")),
        };
        if magic.starts_with(b"PK") {
            return Ok((Format::Zip, listing::of_zip(rest)));
        }
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let gnu = rest.starts_with(b"gnu");
        let members = listing::of_tar(rest.get(end + 1..).unwrap_or_default(), gnu).map_err(|why| wrong(&why))?;
        Ok((Format::Tar { handler: handler(magic), gnu }, members))
    }

    /// Returns the SHA-256 of each file among the members, in their order; another name of a file has none.
    pub async fn digests(&self, format: Format, members: &[Member]) -> Result<Vec<Option<Digest>>, ModuleError> {
        let with_names = matches!(format, Format::Tar { gnu: false, .. });
        let is_read =
            |member: &&Member| member.is_file() || with_names && matches!(member.kind, listing::Kind::Hard(_));
        let read: Vec<&Member> = members.iter().filter(is_read).collect();
        if read.is_empty() {
            return Ok(vec![None; members.len()]);
        }
        let mut command = match format {
            Format::Zip => self.command(&format!(
                "{UNZIP}{SUM}while IFS= read -r name; do \"$unzip\" -p \"$archive\" \"$name\" </dev/null | $sum; done"
            )),
            Format::Tar { .. } => {
                self.command(&format!("{TAR}{SUM}\"$tar\" -x$unpack --to-command=\"$sum\" {}", self.tar_words()))
            }
        };
        if format == Format::Zip {
            command.stdin = read.iter().map(|member| escaped(&member.name) + "\n").collect::<String>().into();
        }
        let output = self.machine.probe(&command).await?;
        let text = output.text();
        let found = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.len() == 64));
        let found: Vec<Digest> = found.map(|digest| Digest(digest.into())).collect();
        if !output.success() || found.len() != read.len() {
            let message = format!("cannot read `{}`: {}", self.path, output.error_text().trim_end());
            return Err(ModuleError::failed(message));
        }
        let mut found = found.into_iter();
        let digests = members.iter().map(|member| {
            let digest = if is_read(&member) { found.next() } else { None };
            digest.filter(|_| member.is_file())
        });
        Ok(digests.collect())
    }

    /// Returns the content of members that were listed, of each in the order of the archive.
    pub async fn contents(&self, format: Format, wanted: &[&Member]) -> Result<Vec<Vec<u8>>, ModuleError> {
        let mut all = Vec::new();
        let mut rest = wanted;
        while !rest.is_empty() {
            let mut length = 0;
            let fits = |member: &&&Member| {
                length += 4 * member.name.len() + 1;
                length < NAMES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (batch, left) = rest.split_at(count);
            let output = self.machine.probe(&self.printing(format, batch)).await?;
            let size: u64 = batch.iter().map(|member| member.size).sum();
            if !output.success() || output.stdout.len() as u64 != size {
                let message = format!("cannot read `{}`: {}", self.path, output.error_text().trim_end());
                return Err(ModuleError::failed(message));
            }
            let mut bytes = output.stdout.as_slice();
            for member in batch {
                let (content, next) =
                    bytes.split_at(usize::try_from(member.size).unwrap_or(bytes.len()).min(bytes.len()));
                all.push(content.to_vec());
                bytes = next;
            }
            rest = left;
        }
        Ok(all)
    }

    /// Says whether a member's content is looked at now: what is large is read when it is written.
    pub fn is_read_now(&self, member: &Member) -> bool {
        self.own.is_some() || member.size <= INLINE_LIMIT
    }

    /// Returns a content that is read when it is written.
    pub fn content(&self, format: Format, member: &Member, digest: Option<Digest>) -> Content {
        let by = Box::new(self.printing(format, &[member]));
        Content { size: member.size, digest, body: Body::Printed { by, here: self.here } }
    }

    /// Returns the command that prints the contents of members.
    fn printing(&self, format: Format, members: &[&Member]) -> Command {
        let (script, names): (String, String) = match format {
            Format::Zip => (
                format!(
                    "{UNZIP}set --\nwhile IFS= read -r name; do set -- \"$@\" \"$name\"; done\n\"$unzip\" -p \"$archive\" \"$@\" </dev/null"
                ),
                members.iter().map(|member| escaped(&member.name) + "\n").collect(),
            ),
            Format::Tar { .. } => (
                format!(
                    "{TAR}line='\n'\nwanted=\"$line$(cat)$line\"; export wanted\n\
                     \"$tar\" -x$unpack --to-command='case $wanted in *\"\n$TAR_FILENAME\n\"*) cat ;; *) cat >/dev/null ;; esac' {}",
                    self.tar_words()
                ),
                // A leading slash goes before the name is told.
                members
                    .iter()
                    .map(|member| format!("{}\n{}\n", member.name, member.name.trim_start_matches('/')))
                    .collect(),
            ),
        };
        let mut command = self.command(&script);
        command.stdin = crate::transport::name::to_bytes(&names).into_owned();
        command
    }

    fn command(&self, script: &str) -> Command {
        // In one language and one zone, so that names and times are told the same everywhere.
        let head = "LC_ALL=C.UTF-8 TZ=UTC0; export LC_ALL TZ";
        Command::shell(format!("{head}\narchive={}\n{script}", quote(&self.path)))
    }

    fn tar_words(&self) -> String {
        let exclude = self.exclude.iter().map(|pattern| format!("--exclude={pattern}"));
        let words = self.options.iter().cloned().chain(exclude).chain(["-f".into()]);
        let words: Vec<String> = words.map(|word| quote(&word)).collect();
        let include: Vec<String> = self.include.iter().map(|name| quote(name)).collect();
        let end = if include.is_empty() { "" } else { " -- " };
        format!("{} \"$archive\"{end}{}", words.join(" "), include.join(" "))
    }

    fn zip_words(&self) -> String {
        let quoted = |words: &[String]| words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
        let exclude = if self.exclude.is_empty() { "" } else { " -x " };
        format!("{}{exclude}{}", quoted(&self.include), quoted(&self.exclude))
    }
}

/// Names the handler that Ansible would take.
fn handler(magic: &[u8]) -> &'static str {
    match magic {
        [0x1f, 0x8b, ..] => "TgzArchive",
        [b'B', b'Z', b'h', ..] => "TarBzipArchive",
        [0xfd, b'7', b'z', ..] => "TarXzArchive",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "TarZstdArchive",
        _ => "TarArchive",
    }
}

/// Returns a name that unzip takes for no pattern.
fn escaped(name: &str) -> String {
    name.chars().flat_map(|letter| "*?[]\\".contains(letter).then_some('\\').into_iter().chain([letter])).collect()
}
