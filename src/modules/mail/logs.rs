//! The logs of a mail host, found and unpacked there by its own `sh`.

/// Finds logs that were written within `$days` days: of the places among the positional parameters, lines of patterns, the first
/// that has any. Leaves them in `$readable`, oldest first, and prints them (`f`); those that cannot be read (`z`), too.
/// Ends the script where nothing is left to read.
pub const FIND: &str = r#"tool() { case $1 in *.gz) echo gzip;; *.bz2) echo bzip2;; *.xz) echo xz;; *) echo cat;; esac; }
unpack() { case $1 in *.gz) gzip -dc -- "$1";; *.bz2) bzip2 -dc -- "$1";; *.xz) xz -dc -- "$1";; *) cat -- "$1";; esac; }
IFS='
'
logs=
for place do
  [ -z "$logs" ] && [ "$days" -gt 0 ] || break
  logs=$(for file in $place; do [ ! -f "$file" ] || printf '%s\n' "$file"; done)
done
[ -n "$logs" ] || exit 0
set -f
logs=$(find -L $logs -prune -type f -mtime "-$days")
[ -z "$logs" ] || logs=$(ls -1Ltr -- $logs)
readable=
for file in $logs; do
  if [ -r "$file" ] && command -v "$(tool "$file")" >/dev/null; then readable="$readable$file$IFS"; printf 'f\t%s\n' "$file"
  else printf 'z\t%s\n' "$file"; fi
done
[ -n "$logs" ] || printf 'f\t\n'
[ -n "$readable" ] || exit 0
"#;

/// A line that a script of ours printed: a letter that says what it is, and fields after tabs.
pub struct Fields<'a> {
    line: &'a str,
    fields: Vec<&'a str>,
}

impl Fields<'_> {
    pub fn of(line: &str) -> Fields<'_> {
        Fields { line, fields: line.split('\t').collect() }
    }

    pub fn kind(&self) -> &str {
        self.fields.first().copied().unwrap_or_default()
    }

    /// An absent field is empty.
    pub fn text(&self, at: usize) -> String {
        self.fields.get(at).copied().unwrap_or_default().to_string()
    }

    /// What is no number is an error that shows the line.
    pub fn number(&self, at: usize) -> Result<i64, String> {
        let number = self.fields.get(at).and_then(|text| text.parse().ok());
        number.ok_or_else(|| format!("the host printed {:?}", self.line))
    }
}
