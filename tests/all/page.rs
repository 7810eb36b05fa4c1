//! The page of a plan in a browser: headless Chromium, from a file, with no network.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::Program;

const PLAY: &str = "- hosts: all
  gather_facts: no
  vars_files: [domains.yml]
  tasks:
    - name: directories
      file: {path: \"{{ base }}/qmail/mailnames/{{ item }}\", state: directory, mode: '0750'}
      loop: \"{{ domains }}\"
    - name: aliases
      copy:
        content: \"&{{ 'other' if item in odd else 'postmaster' }}@{{ item }}\\n\"
        dest: \"{{ base }}/.qmail-{{ item }}\"
        mode: '0640'
      loop: \"{{ domains }}\"
    - name: routes
      lineinfile: {path: \"{{ base }}/smtproutes\", line: \"{{ item }}:10.0.0.2\", create: yes, mode: '0640'}
      loop: \"{{ domains }}\"
      when: inventory_hostname == 'old'
    - name: rights
      file: {path: \"{{ base }}/there\", mode: '0666'}
    - name: <script>document.title = 'forged'</script>
      command: echo '<img src=http://example.com/x onerror=alert(1)>'
";

/// The page of a plan for two hosts and 200 domains.
fn page() -> Program {
    let program = Program::new();
    let mut hosts = String::new();
    for name in ["old", "new"] {
        program.file(&format!("{name}/there"), "as it was\n").file(&format!("{name}/qmail/mailnames/x/y"), "");
        hosts += &format!("{name} ansible_connection=local base={}\n", program.path(name).display());
    }
    let domains: String = (0..200).map(|number| format!("  - d{number:03}.example\n")).collect();
    program.file("domains.yml", &format!("odd: [d017.example, d099.example]\ndomains:\n{domains}"));
    program.file("hosts", &hosts).file("site.yml", PLAY);
    program.run("plan -i hosts site.yml -o my.plan --no-diff").expect(0);
    let html = program.run("show my.plan --format html").expect(0).stdout;
    program.file("page.html", &html);
    program
}

/// Returns the page as the browser has it after its scripts have run.
fn dom(program: &Program, file: &str, fragment: &str, flags: &[&str]) -> String {
    let output = browser(program, &[flags, &["--dump-dom"]].concat(), file, fragment);
    String::from_utf8(output).unwrap()
}

fn browser(program: &Program, flags: &[&str], file: &str, fragment: &str) -> Vec<u8> {
    let profile = tempfile::tempdir_in(program.path("")).unwrap();
    let url = format!("file://{}#{fragment}", program.path(file).display());
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    // Nothing leaves this machine, neither the page's requests nor the browser's own.
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:1", "--window-size=1200,1400"]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(flags).arg(url);
    command.current_dir(program.path("")).env("HOME", program.path("")).stderr(Stdio::null()).stdin(Stdio::null());
    let output = command.output().expect("chromium; it is in the package chromium");
    assert!(output.status.success(), "{:?}", output.status);
    output.stdout
}

/// The summaries of the blocks that are shown.
fn shown(dom: &str) -> Vec<String> {
    let blocks = dom.split("<details ").skip(1).filter(|block| block.contains("class=\"block\""));
    let shown = blocks.filter(|block| !block.split('>').next().unwrap().contains("hidden"));
    let summary = |block: &str| block.split_once("<summary").unwrap().1.split_once('>').unwrap().1.to_string();
    shown.map(|block| summary(block).split("</summary>").next().unwrap().to_string()).collect()
}

fn count(dom: &str) -> &str {
    dom.split_once("id=\"count\">").unwrap().1.split('<').next().unwrap()
}

fn title(dom: &str) -> &str {
    dom.split_once("<title>").unwrap().1.split("</title>").next().unwrap()
}

#[test]
fn two_hundred_domains_on_one_page_are_folded_and_filtered_in_a_browser() {
    let program = page();
    let all = dom(&program, "page.html", "", &[]);
    // 2 blocks of files for 200 domains on two hosts, and a route for each domain: no two of those are the same.
    assert_eq!(shown(&all).len(), 1 + 2 + 200 + 1 + 1, "{:#?}", shown(&all));
    assert_eq!(count(&all), "");
    assert!(all.contains("same for 198 domains on 2 hosts; differs for d017.example, d099.example on old, new"));
    assert!(all.contains("<title>Cutover plan of ") && all.contains("&lt;script&gt;document.title"));
    assert!(!all.contains("<img") && all.contains("<b>200</b> domains"));

    let domain = dom(&program, "page.html", "domain=d017.example", &[]);
    assert_eq!(count(&domain), "3 of 205 shown");
    assert_eq!(shown(&domain)[2], "old (d017.example)");

    // What is looked for by hand leads to the same.
    let probe = "<script>document.title = ['host=new&kind=modes', 'host=new&kind=commands&text=EXAMPLE.com', \
                 'dangerous=1', 'host=new&text=smtproutes'].map(kept => { history.replaceState(null, '', '#' + kept); \
                 take(); return at('count').value; }).join('; ')</script>";
    program.file("probed.html", &program.read("page.html").replace("</body>", &format!("{probe}</body>")));
    let none = dom(&program, "probed.html", "", &[]);
    let counts = ["1 of 205 shown", "1 of 205 shown", "1 of 205 shown", "0 of 205 shown"];
    assert_eq!(title(&none), counts.join("; "));
    assert_eq!(shown(&none).len(), 0);
    assert!(none.contains("<p id=\"none\">Nothing matches."), "{none}");
}

#[test]
fn the_page_is_light_or_dark_asks_for_nothing_and_is_as_wide_as_its_window() {
    let program = page();
    // What the page has come to, written where it can be read.
    let probe = "<script>document.title = [getComputedStyle(document.body).backgroundColor, \
                 document.documentElement.scrollWidth <= innerWidth, \
                 performance.getEntriesByType('resource').length].join(' ')</script>";
    program.file("probed.html", &program.read("page.html").replace("</body>", &format!("{probe}</body>")));
    let title = |flags: &[&str]| title(&dom(&program, "probed.html", "", flags)).to_string();
    assert_eq!(title(&["--window-size=500,900"]), "rgb(255, 255, 255) true 0");
    assert_eq!(title(&["--force-dark-mode"]), "rgb(20, 23, 27) true 0");

    let picture = program.path("page.png");
    browser(&program, &[&format!("--screenshot={}", picture.display())], "page.html", "");
    assert!(is_drawn(&picture));
}

/// Says whether a screenshot has more in it than one colour: that would be a few hundred bytes.
fn is_drawn(picture: &Path) -> bool {
    let bytes = fs::read(picture).unwrap();
    bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000
}
