//! A package that is fetched from the web for as long as a command needs it: `deb` of `apt`.

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::ModuleError;
use crate::modules::system::SCRATCH;
use crate::secret;
use crate::transport::command::quote;
use crate::transport::{Command, Program};
use crate::web::{Part, Request};

use super::database::Name;

#[derive(Clone, Debug)]
pub struct Fetched {
    script: String,
    stdin: Vec<u8>,
    /// What it is called where the command finds it.
    pub file: String,
    /// What it has to be, once it was seen.
    digest: Option<String>,
}

impl Fetched {
    /// Reads an URL. A login in it is told to nobody but the server.
    pub fn new(url: &str) -> Result<Fetched, Diagnostic> {
        let request = Request::to(url);
        request.secrets().iter().for_each(|text| secret::note(text));
        let (script, stdin) = request.script(Part::Body).map_err(Diagnostic::new)?;
        let path = request.url.split('?').next().unwrap_or_default();
        let name: String = path.rsplit('/').next().unwrap_or_default().chars().filter(|c| is_plain(*c)).collect();
        // apt-get takes for a file what is a path and ends so.
        let name = name.trim_end_matches(".deb").trim_start_matches('.');
        let name = if name.is_empty() { "package" } else { name };
        Ok(Fetched { script, stdin, file: format!("./{name}.deb"), digest: None })
    }

    /// Returns it as it was seen, which it has to be from now on.
    pub fn seen(&self, digest: String) -> Fetched {
        Fetched { digest: Some(digest), ..self.clone() }
    }

    /// Returns the command as it runs where the package is; it is gone behind it.
    pub fn around(&self, command: Command) -> Command {
        let inner = match &command.program {
            Program::Shell { script, .. } | Program::Raw(script) => script.clone(),
            Program::Argv(_) => command.line(),
        };
        let sum = self.digest.as_ref().map(|digest| {
            format!(
                "[ \"$(sha256sum <{} | cut -d ' ' -f 1)\" = {digest} ] || {{ echo 'it is no longer the package that was planned' >&2; exit 1; }}\n",
                self.file
            )
        });
        let script = format!(
            "{SCRATCH}chmod 755 \"$new\" && cd \"$new\" || exit\n(\n{}\n) >{} || exit\n{}(\n{inner}\n) </dev/null\n",
            self.script,
            quote(&self.file),
            sum.unwrap_or_default()
        );
        Command { program: Command::shell(script).program, stdin: self.stdin.clone(), ..command }
    }
}

/// Returns the name and the version of the package in a file, and the file's digest.
pub async fn package_in(
    host: &View,
    file: &str,
    fetched: Option<&Fetched>,
) -> Result<(Name, String, String), ModuleError> {
    let format = "--showformat=${Package}:${Architecture} ${Version} ";
    let show = Command::argv(["dpkg-deb", "--show", format, file]).line();
    let show = Command::shell(format!("{show} || exit\nsha256sum <{}\n", quote(file)));
    let output = host.probe(&fetched.map_or(show.clone(), |fetched| fetched.around(show))).await?;
    let text = output.text();
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [name, version, digest, ..] if output.success() => Ok((name.into(), version.into(), digest.into())),
        _ if host.plans_ahead() => Err(ModuleError::Unknown(format!("what is in `{file}`").into())),
        _ => Err(ModuleError::failed(format!("Unable to install package: {}", output.error_text().trim_end()))),
    }
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "+-._~".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::Fetched;

    #[test]
    fn the_file_has_a_name_that_apt_takes() {
        let file = |url: &str| Fetched::new(url).unwrap().file;
        assert_eq!(file("https://a:b@example.com/x/tool_1.0~rc1_all.deb?x=/y"), "./tool_1.0~rc1_all.deb");
        assert_eq!(file("https://example.com/get$(id)"), "./getid.deb");
        assert_eq!(file("https://example.com/"), "./package.deb");
        assert!(Fetched::new("https://example.com/a b.deb").is_err());
    }
}
