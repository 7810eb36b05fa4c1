//! A web server for tests, on loopback, and what `get_url`, `uri` and `lookup('url')` make of what it has.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::program::{Printed, Program, done};
use crate::rpms::ARCHIVE_KEY;

/// A request as it came: its first line, its header and its body.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub line: String,
    pub head: Vec<String>,
    pub body: Vec<u8>,
}

/// Serves until the test's process ends, each connection for one request.
pub struct Web {
    pub port: u16,
    seen: Arc<Mutex<Vec<Asked>>>,
}

/// How large `/large` is: more than travels with a look.
const LARGE: usize = 3 << 20;

impl Web {
    pub fn start() -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<Asked>>>::default();
        let all = seen.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let all = all.clone();
                std::thread::spawn(move || serve(connection, &all));
            }
        });
        Web { port, seen }
    }

    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }
}

impl Asked {
    fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.iter().filter_map(|line| line.split_once(": "));
        found.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn serve(mut connection: TcpStream, all: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut asked = Asked::default();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|length| length > 0) && line != "\r\n" {
        match asked.line.is_empty() {
            true => asked.line = line.trim().into(),
            false => asked.head.push(line.trim().into()),
        }
        line.clear();
    }
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    asked.body = vec![0; length];
    let _ = reader.read_exact(&mut asked.body);
    all.lock().unwrap().push(asked.clone());
    let (status, head, body) = answer(&asked);
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{head}\r\n", body.len());
    let _ = connection.write_all(head.as_bytes());
    if !asked.line.starts_with("HEAD ") {
        let _ = connection.write_all(&body);
    }
}

fn answer(asked: &Asked) -> (&'static str, String, Vec<u8>) {
    let is_ann = asked.header("authorization") == Some("Basic YW5uOmdlaGVpbQ==");
    let json = "Content-Type: application/json\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n".to_string();
    match asked.path() {
        "/since" if asked.header("if-modified-since").is_some() => ("304 Not Modified", String::new(), Vec::new()),
        "/since" | "/plain" | "/badrcptto" | "/status" => ("200 OK", String::new(), b"plain\n".to_vec()),
        "/large" => ("200 OK", String::new(), vec![b'x'; LARGE]),
        "/sums" => {
            let large = "bbdd6aebdb2a6f6ebb1ef1b3bf1e18e4b0b3b3b2d0e0d5d9b3a2d0e0d5d9b3a2";
            let plain = "36ff2ab86c9ea06d6a6db2a3cb52d4c1dd5d30a5f5fc1b7c9a1bb1bb4ab0a3f1";
            ("200 OK", String::new(), format!("{large}  large\n{plain} *plain\n").into_bytes())
        }
        "/named" => {
            ("200 OK", "Content-Disposition: attachment; filename=\"../../given.txt\"\r\n".into(), b"n\n".to_vec())
        }
        "/led" => ("302 Found", "Location: /login\r\n".into(), Vec::new()),
        "/login" if is_ann => ("200 OK", json, br#"{"user": "ann"}"#.to_vec()),
        "/login" => ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n".into(), b"no\n".to_vec()),
        "/told" => {
            let head = "Content-Type: application/json\r\nX-Two-Words: yes\r\n".to_string();
            let text = serde_json::json!({
                "method": asked.line.split(' ').next(),
                "kind": asked.header("content-type"),
                "body": String::from_utf8_lossy(&asked.body),
            });
            ("201 Created", head, text.to_string().into_bytes())
        }
        "/key" | "/archive.asc" => ("200 OK", String::new(), unindented(ARCHIVE_KEY)),
        path if path.starts_with("/pks/lookup?") => ("200 OK", String::new(), unindented(ARCHIVE_KEY)),
        "/ssh" => ("200 OK", String::new(), b"ssh-ed25519 AAAA ann\n# old\nssh-rsa BBBB bob\n".to_vec()),
        "/lines" => ("200 OK", String::new(), b"one\ntwo\n".to_vec()),
        _ => ("404 Not Here", String::new(), b"nothing\n".to_vec()),
    }
}

fn program(web: &Web, tasks: &str) -> Program {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\n");
    std::fs::create_dir(program.path("dest")).unwrap();
    let url = format!("http://127.0.0.1:{}", web.port);
    let tasks = tasks.replace("URL", &url).replace("DIR", &program.path("").display().to_string());
    program.file("play.yml", &format!("- hosts: a\n  gather_facts: false\n  tasks:\n{tasks}"));
    program
}

fn play(program: &Program, flags: &str) -> Printed {
    program.run(&format!("play -i hosts play.yml {flags}"))
}

/// The programs of this machine but for one.
fn without(program: &Program, name: &str, mut command: std::process::Command) -> std::process::Command {
    let tools = program.path("tools");
    if !tools.exists() {
        std::fs::create_dir(&tools).unwrap();
        for directory in ["/usr/bin", "/bin", "/usr/sbin"] {
            for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
                let _ = std::os::unix::fs::symlink(entry.path(), tools.join(entry.file_name()));
            }
        }
        std::fs::remove_file(tools.join(name)).unwrap();
    }
    command.env("PATH", tools);
    command
}

#[test]
fn a_file_is_fetched_shown_and_taken_back() {
    let web = Web::start();
    let program = program(
        &web,
        "    - get_url: {url: URL/plain, dest: DIR/dest/plain, mode: '0600'}\n      register: it\n    - get_url: {url: URL/named, dest: DIR/dest}\n      register: named\n    - debug: {msg: \"{{ it.status_code }} {{ it.msg }} {{ named.dest }}\"}\n",
    );
    let ran = done(|flags| play(&program, flags));
    assert!(
        ran.stdout.contains("+plain\n") && ran.stdout.contains("200 OK (6 bytes) DIR/dest/given.txt"),
        "{}",
        ran.stdout
    );
    assert_eq!((program.read("dest/plain"), program.read("dest/given.txt")), ("plain\n".into(), "n\n".into()));
    program.run("undo last").expect(0);
    assert_eq!(std::fs::read_dir(program.path("dest")).unwrap().count(), 0);
}

#[test]
fn with_wget_alone_it_is_the_same() {
    let web = Web::start();
    let task = "    - get_url: {url: URL/login, dest: DIR/dest/it, username: ann, password: geheim}\n";
    let program = program(&web, task);
    let words = |flags: &str| format!("play -i hosts play.yml {flags}");
    let run = |flags: &str| {
        let mut command = without(&program, "curl", program.command());
        std::fs::create_dir_all(program.path("temp")).unwrap();
        command.env("TMPDIR", program.path("temp"));
        program.printed(command.args(words(flags).split_whitespace()).output().unwrap())
    };
    done(run);
    let left =
        |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().to_string_lossy().contains("cutover.");
    assert!(!std::fs::read_dir(program.path("temp")).unwrap().any(left), "the login is left on the host");
    assert_eq!(program.read("dest/it"), "{\"user\": \"ann\"}");
    let given = program.read("play.yml");
    program.file("play.yml", &given.replace("/login", "/none"));
    let failed = run("").expect(2);
    assert!(
        failed.stdout.contains("HTTP Error 404: Not Here") && !failed.stdout.contains("geheim"),
        "{}",
        failed.stdout
    );
    program.file("play.yml", &given.replace("}\n", ", headers: {X-Token: b}}\n"));
    let refused = run("").expect(2);
    assert!(refused.stdout.contains("curl is needed: wget takes header fields only"), "{}", refused.stdout);
}

#[test]
fn what_is_large_is_streamed_and_only_what_was_planned_is_taken() {
    let web = Web::start();
    let program = program(&web, "    - get_url: {url: URL/large, dest: DIR/dest/large}\n");
    program.run("plan -i hosts play.yml -o p").expect(0);
    assert!(program.read("p").len() < 1 << 16);
    program.run("apply p").expect(0);
    assert_eq!(std::fs::read(program.path("dest/large")).unwrap(), vec![b'x'; LARGE]);
    let again = play(&program, "").expect(0);
    assert!(again.stdout.contains(" changed=0 "), "{}", again.stdout);
}

#[test]
fn a_file_that_is_there_is_asked_about_and_a_digest_decides() {
    let web = Web::start();
    let sum = "36ff"; // of no file
    let tasks = "    - get_url: {url: URL/since, dest: DIR/dest/it}
      register: since
    - get_url: {url: URL/plain, dest: DIR/dest/it, checksum: 'sha1:SHA1'}
      register: same
    - get_url: {url: URL/plain, dest: DIR/dest/it, checksum: 'sha256:SUM'}
      register: other
      ignore_errors: true
    - assert:
        that:
          - since.status_code == 304 and '304' in since.msg
          - same.msg == 'file already exists'
          - other is failed and 'did not match' in other.msg
"
    .replace("SUM", sum)
    .replace("SHA1", "8c9b3c4d8a1ae1c8b8fbfe0a27f2d4f5a2ee6d52");
    let program = program(&web, &tasks);
    program.file("dest/it", "mine\n");
    let sha1 =
        String::from_utf8(crate::sshd::run(std::process::Command::new("sha1sum").arg(program.path("dest/it"))).stdout);
    let text = program.read("play.yml").replace("8c9b3c4d8a1ae1c8b8fbfe0a27f2d4f5a2ee6d52", &sha1.unwrap()[..40]);
    program.file("play.yml", &text);
    play(&program, "").expect(0);
    assert_eq!(program.read("dest/it"), "mine\n");
}

#[test]
fn a_password_is_with_the_server_and_nowhere_else() {
    let web = Web::start();
    let program = program(
        &web,
        "    - get_url: {url: URL/login, dest: DIR/dest/it, url_username: ann, url_password: geheim, force_basic_auth: true}
    - uri: {url: 'URL/login', user: ann, password: geheim}
      register: it
    - assert: {that: [it.json.user == 'ann', it.cookies.b == '2', it.cookies_string == 'a=1; b=2', \"'content' not in it\"]}
    - uri: {url: URL/led, user: ann, password: geheim, force_basic_auth: true, unredirected_headers: [Authorization]}
      register: led
      ignore_errors: true
    - assert: {that: [led is failed, led.status == 401, \"led.content == 'no\\n'\"]}
    - uri: {url: URL/told, method: POST, user: ann, password: geheim, status_code: 201}
",
    );
    let mut told = String::new();
    for flags in ["--check --diff -vvv", "--diff -vvv"] {
        let printed = play(&program, flags);
        told += &format!("{}{}", printed.stdout, printed.stderr);
    }
    assert_eq!(program.read("dest/it"), "{\"user\": \"ann\"}");
    for entry in std::fs::read_dir(program.path("state/runs")).unwrap() {
        told += &String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap());
    }
    let open = told.replace(&program.read("play.yml"), "");
    assert!(!open.contains("geheim") && !open.contains("YW5uOmdlaGVpbQ"), "{open}");
    assert!(web.seen().iter().any(|asked| asked.line.starts_with("POST /told")));
}

#[test]
fn what_only_asks_is_known_in_a_check_and_what_tells_is_a_change() {
    let web = Web::start();
    let program = program(
        &web,
        "    - uri: {url: URL/plain, return_content: true, dest: DIR/dest/kept}
      register: asked
    - copy: {content: '{{ asked.content }}', dest: DIR/dest/copy}
    - uri: {url: URL/none, status_code: [200, 404]}
      register: missing
    - assert: {that: [missing.status == 404, missing is not changed]}
    - uri:
        url: URL/told
        method: POST
        body_format: json
        body: {a: [1, 'ü']}
        status_code: 201
      register: told
    - copy: {content: '{{ told.json.kind }} {{ told.json.body }} {{ told.x_two_words }}', dest: DIR/dest/told}
    - uri: {url: URL/told, method: PUT, body_format: form-urlencoded, body: {b: c d}, status_code: 201}
      register: put
      when: not ansible_check_mode
    - assert: {that: [put.json.method == 'PUT', put.json.body == 'b=c+d', put.status == 201]}
      when: not ansible_check_mode
    - uri: {url: URL/told, method: DELETE}
      register: gone
      ignore_errors: true
    - assert: {that: ['gone is failed', \"'Status code was 201 and not [200]' in gone.msg\"]}
      when: not ansible_check_mode
",
    );
    let check = play(&program, "--check --diff").expect(0);
    assert!(check.stdout.contains("+plain\n") && check.stdout.contains("unknown=1"), "{}", check.stdout);
    assert!(
        check.stdout.contains(&format!("+run: # POST http://127.0.0.1:{}/told, a body of 14 bytes\n", web.port)),
        "{}",
        check.stdout
    );
    assert!(web.seen().iter().all(|asked| asked.line.starts_with("GET ")), "{:?}", web.seen());
    play(&program, "").expect(0);
    assert_eq!(program.read("dest/told"), "application/json {\"a\":[1,\"ü\"]} yes");
    assert_eq!((program.read("dest/kept"), program.read("dest/copy")), ("plain\n".into(), "plain\n".into()));
}

#[test]
fn a_form_of_parts_has_its_files() {
    let web = Web::start();
    let program = program(
        &web,
        "    - uri:
        url: URL/told
        method: POST
        body_format: form-multipart
        body: {name: ann, file: {filename: some.bin}, text: {content: hi, mime_type: text/x}}
        status_code: 201
",
    );
    std::fs::create_dir(program.path("files")).unwrap();
    std::fs::write(program.path("files/some.bin"), [0, 255, b'\n']).unwrap();
    play(&program, "").expect(0);
    let [asked] = &web.seen()[..] else { panic!("{:?}", web.seen()) };
    let kind = asked.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let body = String::from_utf8(asked.body.clone()).unwrap();
    let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 5, "{body}");
    assert_eq!(parts[1], "\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nann\r\n");
    assert!(parts[2].contains("filename=\"some.bin\"") && parts[2].contains("\r\n\r\nAP8K\r\n"), "{body}");
    assert!(parts[3].contains("Content-Type: text/x\r\n\r\nhi\r\n"), "{body}");
}

#[test]
fn a_lookup_asks_from_the_controller() {
    let web = Web::start();
    let program = program(
        &web,
        "    - assert:
        that:
          - lookup('url', 'URL/lines') == 'one,two'
          - query('url', 'URL/lines') == ['one', 'two']
          - lookup('url', 'URL/lines', split_lines=false) == 'one\\ntwo\\n'
          - (lookup('url', 'URL/login', username='ann', password='geheim', force_basic_auth=true) | from_json).user == 'ann'
    - debug: {msg: \"{{ lookup('url', 'URL/none') }}\"}
",
    );
    let printed = play(&program, "").expect(2);
    assert!(printed.stdout.contains("HTTP Error 404: Not Here"), "{}", printed.stdout);
    assert!(web.seen().iter().all(|asked| asked.header("user-agent") == Some("ansible-httpget")));
}

#[test]
fn the_environment_of_a_task_reaches_what_asks() {
    let web = Web::start();
    let program = program(
        &web,
        "    - uri: {url: http://far.invalid/status, status_code: [200, 404]}
      environment: {http_proxy: URL}
    - get_url: {url: http://far.invalid/plain, dest: DIR/dest/it}
      environment: {http_proxy: URL}
      ignore_errors: yes
    - uri: {url: http://far.invalid/told, method: POST, body: x, status_code: [201, 404]}
      environment: {http_proxy: URL}
",
    );
    play(&program, "").expect(0);
    for asked in ["GET http://far.invalid/status", "GET http://far.invalid/plain", "POST http://far.invalid/told"] {
        assert!(web.seen().iter().any(|seen| seen.line.starts_with(asked)), "{asked}: {:?}", web.seen());
    }
}

#[test]
fn a_login_of_netrc_goes_before_an_authorization_unless_it_is_left_out() {
    let web = Web::start();
    let program = program(
        &web,
        "    - get_url: {url: URL/login, dest: DIR/dest/it, headers: {authorization: Bearer x}, use_netrc: 'HOW'}
      environment: {NETRC: DIR/netrc}
      ignore_errors: true
",
    );
    program.file(
        "netrc",
        "machine other.invalid login bob password x\nmachine 127.0.0.1\n  login ann\n  password geheim\n",
    );
    let text = program.read("play.yml");
    let asked = |how: &str| {
        program.file("play.yml", &text.replace("HOW", how));
        play(&program, "").expect(0);
        web.seen().last().unwrap().header("authorization").map(String::from)
    };
    assert_eq!(asked("true").as_deref(), Some("Basic YW5uOmdlaGVpbQ=="));
    assert_eq!(asked("false").as_deref(), Some("Bearer x"));
    program.file("netrc", "machine other.invalid login bob password x\n");
    assert_eq!(asked("true").as_deref(), Some("Bearer x"));
}

/// The fingerprint of [`ARCHIVE_KEY`].
const FINGERPRINT: &str = "069A72BAA9227AEB8DFDA39FB9461B71583FB986";

/// A key as it stands in an example, without the example's indentation.
fn unindented(key: &str) -> Vec<u8> {
    key.lines().flat_map(|line| format!("{}\n", line.trim()).into_bytes()).collect()
}

#[test]
fn keys_are_read_where_an_url_or_a_server_of_keys_has_them() {
    let web = Web::start();
    let program = program(
        &web,
        &format!(
            "    - apt_key: {{keyserver: URL, id: {FINGERPRINT}, keyring: DIR/dest/own.asc}}\n\
             \x20   - apt_key: {{url: URL/key, id: {FINGERPRINT}, keyring: DIR/dest/own.gpg}}\n\
             \x20   - deb822_repository: {{name: Our own, uris: 'http://a.example', suites: x, components: main, signed_by: URL/key, \
             include: [a, b*], directory: DIR/dest/sources.list.d}}\n      register: ours\n\
             \x20   - authorized_key: {{user: root, key: URL/ssh, path: DIR/dest/authorized_keys, key_options: no-pty, manage_dir: false}}\n\
             \x20   - debug: {{var: ours.key_filename}}\n"
        ),
    );
    let ran = done(|flags| play(&program, flags));
    assert!(ran.stdout.contains("DIR/dest/keyrings/our-own.asc"), "{}", ran.stdout);
    let key = String::from_utf8(unindented(ARCHIVE_KEY)).unwrap();
    assert_eq!((program.read("dest/own.asc"), program.read("dest/keyrings/our-own.asc")), (key.clone(), key));
    assert_eq!(std::fs::read(program.path("dest/own.gpg")).unwrap()[0] & 0xC0, 0x80, "it is armored");
    assert_eq!(
        program.read("dest/sources.list.d/our-own.sources").replace(&program.path("").display().to_string(), "DIR/"),
        "Components: main\nInclude: a b*\nX-Repolib-Name: Our own\nSigned-By: DIR/dest/keyrings/our-own.asc\nSuites: x\nTypes: deb\n\
         URIs: http://a.example\n"
    );
    assert_eq!(program.read("dest/authorized_keys"), "no-pty ssh-ed25519 AAAA ann\nno-pty ssh-rsa BBBB bob\n");
    let lookup = format!("/pks/lookup?op=get&options=mr&search=0x{FINGERPRINT}");
    assert!(web.seen().iter().any(|asked| asked.line.contains(&lookup)));
    program.run("undo last").expect(0);
    let left: Vec<_> =
        std::fs::read_dir(program.path("dest")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");

    let given = program.read("play.yml");
    for (from, says) in [("/key,", "holds no key"), ("/ssh,", "is no public key")] {
        program.file("play.yml", &given.replace(from, &format!("/plain{}", &from[from.len() - 1..])));
        let failed = play(&program, "--check").expect(2);
        assert!(failed.stdout.contains(says), "{from}: {}", failed.stdout);
    }
    program.file("play.yml", &given.replace("/key,", "/none,"));
    let failed = play(&program, "--check").expect(2);
    assert!(failed.stdout.contains("HTTP Error 404: Not Here"), "{}", failed.stdout);
}
