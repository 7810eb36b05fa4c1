//! What templates mean: one row a fact, each the template, the variables, and the value.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::error::Source;
use crate::vars::{Scope, layer_of};
use crate::yaml::{self, Yaml};

use super::{Failure, Templates};

/// One for all rows, as for a run.
pub(super) static TEMPLATES: LazyLock<Templates> = LazyLock::new(Templates::new);

const VARS: &str = r#"
x: 5
f: 1.5
s: hello world
e: ""
n: null
t: true
no_: false
l: [3, 1, 2]
d: {a: 1, b: {c: 2}}
people: [{name: ann, age: 30, tags: [a, b]}, {name: bob, age: 20, tags: [c]}]
wrapped: "{{ x }}"
twice: "{{ wrapped }}"
lazy: {ok: "{{ x }}", bad: "{{ nope }}", deep: ["{{ s }}", {k: "{{ l }}"}]}
bad: "{{ nope.x }}"
raw: !unsafe "{{ x }}"
left: "{{ undef(hint='set me') }}"
key: b
expression: x == 5 and s is match('hello')
changed_result: {changed: true, failed: false}
failed_result: {changed: false, failed: true, skipped: false}
skipped_result: {skipped: true, changed: false}
loop_result: {results: [{changed: false}, {changed: true}]}
"#;

pub(super) fn node(text: &str) -> Yaml {
    let source = Arc::new(Source { path: "play.yml".into(), text: text.into() });
    yaml::load(&source).unwrap().remove(0)
}

pub(super) fn scope() -> Scope {
    Scope::new(vec![Arc::new(layer_of(&node(VARS)))])
}

pub(super) fn render(text: &str) -> Result<Value, String> {
    let source = Arc::new(Source { path: "play.yml".into(), text: text.into() });
    let place = crate::error::Place::new(&source, 1, 1);
    TEMPLATES.render(&Yaml::text_at(text, &place), &scope()).map_err(|failure| match failure {
        Failure::Unknown(what) => format!("unknown: {what}"),
        Failure::Wrong(diagnostic) => diagnostic.to_string(),
    })
}

fn check_rows(rows: Vec<(&str, Value)>) {
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|(template, expected)| match render(template) {
            // As text, so that the order of keys counts.
            Ok(found) if format!("{found}") == format!("{expected}") => None,
            Ok(found) => Some(format!("{template}\n    found {found}\n expected {expected}")),
            Err(error) => Some(format!("{template}\n    {error}")),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every filter, test and method with what ansible-core 2.19 makes of it: `EXPRESSION => JSON`, a line each.
const DOCUMENTED: &str = include_str!("documented.txt");

/// Ansible's own, beside Jinja2's.
const ANSIBLES: [(&str, &str, usize); 2] = [
    (
        "| ",
        "b64decode b64encode basename bool checksum combinations combine comment commonpath dict2items difference dirname \
         expanduser expandvars extract flatten from_json from_yaml from_yaml_all groupby hash human_readable \
         human_to_bytes intersect items2dict log mandatory md5 normpath password_hash path_join permutations pow product \
         quote random realpath regex_escape regex_findall regex_replace regex_search rekey_on_member relpath root sha1 \
         shuffle split splitext strftime subelements symmetric_difference ternary to_datetime to_json to_nice_json \
         to_nice_yaml to_uuid to_yaml type_debug union unique unvault urldecode urlsplit vault win_basename win_dirname \
         win_splitdrive zip zip_longest",
        70,
    ),
    (
        "is ",
        "abs all any change changed contains directory exists failed failure falsy file finished is_abs is_dir is_file \
         is_link is_mount is_same_file isnan issubset issuperset link link_exists match mount nan reachable regex \
         same_file search skip skipped started subset succeeded success successful superset timedout truthy unreachable \
         uri url urn vault_encrypted vaulted_file version version_compare",
        49,
    ),
];

#[test]
fn every_filter_and_test_of_ansible_is_in_the_table() {
    for (before, names, count) in ANSIBLES {
        let names: Vec<&str> = names.split_whitespace().collect();
        assert_eq!(names.len(), count);
        let is_there = |name: &str| {
            let used = format!("{before}{name}");
            let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            DOCUMENTED.match_indices(&used).any(|(at, _)| ends(&DOCUMENTED[at + used.len()..]))
        };
        let missing: Vec<&&str> = names.iter().filter(|name| !is_there(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn what_is_documented_is_so() {
    let wrong = DOCUMENTED.lines().filter_map(|line| {
        let (expression, expected) = line.rsplit_once(" => ")?;
        let expected: Value = serde_json::from_str(expected).unwrap();
        match render(&format!("{{{{ {expression} }}}}")) {
            Ok(found) if found == expected => None,
            found => Some(format!("{expression}\n    found {found:?}\n expected {expected}")),
        }
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_expression_alone_keeps_its_type() {
    check_rows(vec![
        ("{{ x }}", json!(5)),
        ("{{ f }}", json!(1.5)),
        ("{{ l }}", json!([3, 1, 2])),
        ("{{ d }}", json!({"a": 1, "b": {"c": 2}})),
        ("{{ t }}", json!(true)),
        ("{{ n }}", json!(null)),
        ("{{ s }}", json!("hello world")),
        (" {{ x }}", json!(" 5")),
        ("{{ x }}{{ x }}", json!("55")),
        ("{{ t }}!", json!("True!")),
        ("{{ n }}!", json!("!")),
        ("{{ l }}!", json!("[3, 1, 2]!")),
        ("{{ ['a', none, true] }}!", json!("['a', None, True]!")),
        ("{% if t %}{{ l }}{% else %}{{ x }}{% endif %}", json!([3, 1, 2])),
        ("{{ wrapped }}", json!(5)),
        ("{{ twice + 1 }}", json!(6)),
        ("{{ lazy.ok }}", json!(5)),
        ("{{ lazy.deep }}", json!(["hello world", {"k": [3, 1, 2]}])),
        ("{{ lazy.deep[1].k[0] }}", json!(3)),
        ("{{ raw }}", json!("{{ x }}")),
        ("{{ vars.x }}", json!(5)),
        ("{{ vars['lazy'].ok }}", json!(5)),
        ("{{ 18446744073709551615 }}", json!(18446744073709551615_u64)),
        ("{{ 18446744073709551615 + 1 }}", json!("18446744073709551616")),
        ("{{ '5' }}", json!("5")),
        ("{{ {'a': omit, 'b': 1} }}", json!({"b": 1})),
        ("{{ [1, omit] }}", json!([1])),
        ("{{ nope | default(omit) }}", json!(null)),
        ("a\n{% if t %}\nb\n{% endif %}\nc\n", json!("a\nb\nc\n")),
        ("{% for i in l %}{{ i }},{% endfor %}", json!("3,1,2,")),
        ("{% set y = x + 1 %}{{ y }}", json!(6)),
        ("{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }}", json!("1-2")),
        ("{# nothing #}{{ x }}", json!(5)),
        ("{% for i in l %}{{ i }}{{ ',' if not loop.last }}{% endfor %}", json!("3,1,2")),
        ("{{ 'a' if x == 6 }}", json!("")),
        ("{{ True }} {{ False }}", json!("True False")),
        ("{{ {'a': lazy.ok} == {'a': 5} }}", json!(true)),
        ("{{ lazy.deep == ['hello world', {'k': [3, 1, 2]}] }}", json!(true)),
        ("{% raw %}{{ x }}{% endraw %}", json!("{{ x }}")),
        ("{{ 7 // 2 }}", json!(3)),
        ("{{ 7 / 2 }}", json!(3.5)),
        ("{{ 2 ** 10 }}", json!(1024)),
        ("{{ l[1:] }}", json!([1, 2])),
        ("{{ s[-5:] }}", json!("world")),
        ("{{ 'yes' if x > 3 else 'no' }}", json!("yes")),
        ("{{ l + [4] }}", json!([3, 1, 2, 4])),
        ("{{ 'a' ~ x ~ 'b' }}", json!("a5b")),
        ("{{ 'é' | length }}", json!(1)),
        ("{{ d[key].c }}", json!(2)),
    ]);
}

#[test]
fn undefined_is_tolerated_where_it_is_asked_about() {
    check_rows(vec![
        ("{{ nope | default('D') }}", json!("D")),
        ("{{ nope.a.b | default('D') }}", json!("D")),
        ("{{ nope['a'][0].b | d('D') }}", json!("D")),
        ("{{ nope['a'].b | ansible.builtin.default('D') }}", json!("D")),
        ("{{ d.zz.yy | default('D') }}", json!("D")),
        ("{{ d.b.c | default('D') }}", json!(2)),
        ("{{ d[key].c | default('D') }}", json!(2)),
        ("{{ d[nope_key | default('b')].c | default('D') }}", json!(2)),
        ("{{ (nope.a.b) | default('D') }}", json!("D")),
        ("{{ (nope.a | default({})).b | default('D') }}", json!("D")),
        ("{{ l[9].x | default('D') }}", json!("D")),
        ("{{ people[0].name | default('D') }}", json!("ann")),
        ("{{ nope.a is defined }}", json!(false)),
        ("{{ nope.a is not defined }}", json!(true)),
        ("{{ nope.a.b is undefined }}", json!(true)),
        ("{{ not nope.a.b is defined }}", json!(true)),
        ("{{ nope.a is defined and nope.a.b == 1 }}", json!(false)),
        ("{{ x if nope.a is defined else 'D' }}", json!("D")),
        ("{{ bad | default('D') }}", json!("D")),
        ("{{ bad is defined }}", json!(false)),
        ("{{ lazy.bad | default('D') }}", json!("D")),
        ("{{ e | default('D', true) }}", json!("D")),
        ("{{ e | default('D') }}", json!("")),
        ("{{ nope.a | default(d.b.c) }}", json!(2)),
        ("{{ -d.a | default(3) }}", json!(-1)),
        ("{{ 1 + nope.y | default(3) }}", json!(4)),
        ("{% if nope.a is defined %}a{% else %}b{% endif %}", json!("b")),
        ("{{ people | map(attribute='zz', default='D') | list }}", json!(["D", "D"])),
        ("{{ x | mandatory }}", json!(5)),
        ("{{ people | selectattr('zz', 'defined') | list }}", json!([])),
    ]);
}

#[test]
fn text_filters() {
    check_rows(vec![
        ("{{ 'yes' | bool }}", json!(true)),
        ("{{ 'off' | bool }}", json!(false)),
        ("{{ 1 | bool }}", json!(true)),
        ("{{ ['123 == 321' | bool, 2 | bool] }}", json!([false, false])),
        ("{{ '12' | int + 1 }}", json!(13)),
        ("{{ 'x' | int(7) }}", json!(7)),
        ("{{ '1.5' | float }}", json!(1.5)),
        ("{{ s | upper }}", json!("HELLO WORLD")),
        ("{{ s | capitalize }}", json!("Hello world")),
        ("{{ s | title }}", json!("Hello World")),
        ("{{ s | replace('o', '0') }}", json!("hell0 w0rld")),
        ("{{ 'ab' | center(6) }}", json!("  ab  ")),
        ("{{ 'abc' | center(6) }}", json!(" abc  ")),
        ("{{ 'hi' | comment }}", json!("#\n# hi\n#")),
        ("{{ 'a\nb' | comment('cblock') }}", json!("/*\n *\n * a\n * b\n *\n */")),
        ("{{ 'hi' | comment('xml') }}", json!("<!--\n -\n - hi\n -\n-->")),
        ("{{ 'hi' | comment(decoration='; ') }}", json!(";\n; hi\n;")),
        ("{{ 'w' | comment(prefix='', postfix='') }}", json!("# w\n")),
        ("{{ 'w' | comment(beginning='/*', end='*/', decoration='') }}", json!("/*\nw\n\n*/")),
        ("{{ 'w' | comment(prefix='x', prefix_count=2, newline='|') }}", json!("x|x|# w|#")),
        ("{{ \"it's\" | quote }}", json!("'it'\"'\"'s'")),
        ("{{ 'plain-1.txt' | quote }}", json!("plain-1.txt")),
        ("{{ '' | quote }}", json!("''")),
        ("{{ 'a b  c' | split }}", json!(["a", "b", "c"])),
        ("{{ 'a,b' | split(',') }}", json!(["a", "b"])),
        ("{{ 'a,b,c' | split(',', 1) }}", json!(["a", "b,c"])),
        ("{{ t | ternary('a', 'b') }}", json!("a")),
        ("{{ n | ternary('a', 'b', 'c') }}", json!("c")),
        ("{{ l | type_debug }}", json!("list")),
        ("{{ d | type_debug }}", json!("dict")),
        ("{{ '1' | type_debug }}", json!("str")),
        ("{{ x | type_debug }}", json!("int")),
        ("{{ n | type_debug }}", json!("NoneType")),
        ("{{ s | regex_replace('o', '0') }}", json!("hell0 w0rld")),
        ("{{ s | regex_replace('(\\w+) (\\w+)', '\\2 \\1') }}", json!("world hello")),
        ("{{ s | regex_replace('^(?P<first>h)', '<\\g<first>>') }}", json!("<h>ello world")),
        ("{{ 'aaa' | regex_replace('a', 'b', count=2) }}", json!("bba")),
        ("{{ 'A' | regex_replace('a', 'b', ignorecase=true) }}", json!("b")),
        ("{{ 'a\nb' | regex_replace('^', '> ', multiline=true) }}", json!("> a\n> b")),
        ("{{ 'a\n' | regex_replace('a$', 'b') }}", json!("b\n")),
        ("{{ s | regex_search('w.r') }}", json!("wor")),
        ("{{ s | regex_search('zzz') }}", json!(null)),
        ("{{ 'k=v' | regex_search('(\\w)=(\\w)', '\\1', '\\2') }}", json!(["k", "v"])),
        ("{{ 'k=v' | regex_search('(?P<k>\\w)=', '\\g<k>') }}", json!(["k"])),
        ("{{ 'a1b22' | regex_findall('[0-9]+') }}", json!(["1", "22"])),
        ("{{ 'a=1\nb\na=2\n' | regex_findall('(?m)^a=(.*)$') }}", json!(["1", "2"])),
        ("{{ 'k=v,l=w' | regex_findall('(\\w)=(\\w)') }}", json!([["k", "v"], ["l", "w"]])),
        ("{{ 'a.b*' | regex_escape }}", json!("a\\.b\\*")),
        ("{{ 'a.b+' | regex_escape('posix_basic') }}", json!("a\\.b+")),
        ("{{ '%s-%03d' % (s, x) }}", json!("hello world-005")),
        ("{{ '%s!' % x }}", json!("5!")),
        ("{{ '%s' % d.b.c | string }}", json!("2")),
        ("{{ '%s-%s' | format(s, x) }}", json!("hello world-5")),
        ("{{ 7 % 3 }}", json!(1)),
        ("{{ s | ansible.builtin.upper }}", json!("HELLO WORLD")),
        ("{{ 'yes' | ansible.builtin.bool }}", json!(true)),
        ("{{ s | wordcount }}", json!(2)),
        ("{{ s | truncate(5) }}", json!("he...")),
        ("{{ s | truncate(length=5, end='') }}", json!("hello")),
        ("{{ s | wordwrap(5) }}", json!("hello\nworld")),
        ("{{ 'a\nb' | indent(2, true) }}", json!("  a\n  b")),
        ("{{ ['a', 'b'] | map('upper') | join('-') }}", json!("A-B")),
    ]);
}

#[test]
fn path_filters() {
    check_rows(vec![
        ("{{ '/etc/qmail/me' | basename }}", json!("me")),
        ("{{ '/etc/qmail/' | basename }}", json!("")),
        ("{{ '/etc/qmail/me' | dirname }}", json!("/etc/qmail")),
        ("{{ '/me' | dirname }}", json!("/")),
        ("{{ 'me' | dirname }}", json!("")),
        ("{{ '/a/b.tar.gz' | splitext }}", json!(["/a/b.tar", ".gz"])),
        ("{{ '.bashrc' | splitext }}", json!([".bashrc", ""])),
        ("{{ ['/a', 'b', 'c'] | path_join }}", json!("/a/b/c")),
        ("{{ ['/a', '/b'] | path_join }}", json!("/b")),
        ("{{ '/a/./b/../c//d' | normpath }}", json!("/a/c/d")),
        ("{{ '' | normpath }}", json!(".")),
        ("{{ '/a/b/c' | relpath('/a/d') }}", json!("../b/c")),
        ("{{ ['/a/b/c', '/a/b/d'] | commonpath }}", json!("/a/b")),
        ("{{ '/nowhere/../tmp/../x' | realpath }}", json!("/x")),
        ("{{ '~root' | expanduser }}", json!("~root")),
    ]);
}

#[test]
fn collection_filters() {
    check_rows(vec![
        ("{{ d | combine({'a': 2}) }}", json!({"a": 2, "b": {"c": 2}})),
        ("{{ d | combine({'b': {'e': 3}}) }}", json!({"a": 1, "b": {"e": 3}})),
        ("{{ d | combine({'b': {'e': 3}}, recursive=true) }}", json!({"a": 1, "b": {"c": 2, "e": 3}})),
        ("{{ {'l': [1]} | combine({'l': [2]}, list_merge='append') }}", json!({"l": [1, 2]})),
        ("{{ {'l': [1]} | combine({'l': [2]}, list_merge='prepend') }}", json!({"l": [2, 1]})),
        ("{{ {'l': [1, 2]} | combine({'l': [2]}, list_merge='append_rp') }}", json!({"l": [1, 2]})),
        ("{{ {'l': [1]} | combine({'l': [2]}, list_merge='keep') }}", json!({"l": [1]})),
        ("{{ [{'a': 1}, {'b': 2}] | combine }}", json!({"a": 1, "b": 2})),
        ("{{ {'a': 1} | dict2items }}", json!([{"key": "a", "value": 1}])),
        ("{{ {'a': 1} | dict2items(key_name='k', value_name='v') }}", json!([{"k": "a", "v": 1}])),
        ("{{ [{'key': 'a', 'value': 1}] | items2dict }}", json!({"a": 1})),
        ("{{ people | items2dict('name', 'age') }}", json!({"ann": 30, "bob": 20})),
        ("{{ [1, [2, [3, none]]] | flatten }}", json!([1, 2, 3])),
        ("{{ [1, [2, [3]]] | flatten(levels=1) }}", json!([1, 2, [3]])),
        ("{{ [1, 2, 2] | union([3]) }}", json!([1, 2, 3])),
        ("{{ [1, 2] | difference([2]) }}", json!([1])),
        ("{{ [1, 2] | intersect([2, 3]) }}", json!([2])),
        ("{{ [1, 2] | symmetric_difference([2, 3]) }}", json!([1, 3])),
        ("{{ [1, 1, 2] | unique }}", json!([1, 2])),
        ("{{ [1, 2] | zip(['a', 'b']) | list }}", json!([[1, "a"], [2, "b"]])),
        ("{{ [1, 2] | zip_longest(['a'], fillvalue='-') | list }}", json!([[1, "a"], [2, "-"]])),
        ("{{ [1, 2] | product(['a', 'b']) | list }}", json!([[1, "a"], [1, "b"], [2, "a"], [2, "b"]])),
        ("{{ [1, 2] | permutations | list }}", json!([[1, 2], [2, 1]])),
        ("{{ [1, 2, 3] | combinations(2) | list }}", json!([[1, 2], [1, 3], [2, 3]])),
        ("{{ 'b' | extract(d) }}", json!({"c": 2})),
        ("{{ 'b' | extract(d, 'c') }}", json!(2)),
        ("{{ [0, 2] | map('extract', l) | list }}", json!([3, 2])),
        ("{{ people | subelements('tags') | map(attribute=1) | list }}", json!(["a", "b", "c"])),
        ("{{ people | rekey_on_member('name') | list }}", json!(["ann", "bob"])),
        ("{{ people | map(attribute='name') | list }}", json!(["ann", "bob"])),
        ("{{ people | selectattr('age', '>', 25) | map(attribute='name') | list }}", json!(["ann"])),
        ("{{ people | sort(attribute='age') | map(attribute='name') | list }}", json!(["bob", "ann"])),
        ("{{ people | groupby('name') | map('first') | list }}", json!(["ann", "bob"])),
        ("{{ l | sort }}", json!([1, 2, 3])),
        ("{{ l | max }}", json!(3)),
        ("{{ l | sum }}", json!(6)),
        ("{{ l | select('odd') | list }}", json!([3, 1])),
        ("{{ l | reject('in', [1]) | list }}", json!([3, 2])),
        ("{{ l | map('string') | list }}", json!(["3", "1", "2"])),
        ("{{ [1] | random }}", json!(1)),
        ("{{ (100 | random(seed='a')) == (100 | random(seed='a')) }}", json!(true)),
        ("{{ [1, 2, 3, 4] | shuffle(seed='a') | sort }}", json!([1, 2, 3, 4])),
        ("{{ (people | selectattr('name', 'eq', 'zed') | first).age | default(5) }}", json!(5)),
        ("{{ d | dictsort | map('first') | list }}", json!(["a", "b"])),
        ("{{ lazy.deep | first }}", json!("hello world")),
        ("{{ dict(people | map(attribute='name') | zip(l)) }}", json!({"ann": 3, "bob": 1})),
    ]);
}

#[test]
fn encoding_filters() {
    check_rows(vec![
        ("{{ 'abc' | b64encode }}", json!("YWJj")),
        ("{{ 'YWJj' | b64decode }}", json!("abc")),
        ("{{ 'abc' | md5 }}", json!("900150983cd24fb0d6963f7d28e17f72")),
        ("{{ 'abc' | sha1 }}", json!("a9993e364706816aba3e25717850c26c9cd0d89d")),
        ("{{ 'abc' | checksum }}", json!("a9993e364706816aba3e25717850c26c9cd0d89d")),
        ("{{ 'abc' | hash('sha256') }}", json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
        ("{{ d | to_json }}", json!("{\"a\": 1, \"b\": {\"c\": 2}}")),
        ("{{ 'é' | to_json }}", json!("\"\\u00e9\"")),
        ("{{ [] | to_json }}", json!("[]")),
        ("{{ {'b': [1], 'a': 2} | to_nice_json }}", json!("{\n    \"a\": 2,\n    \"b\": [\n        1\n    ]\n}")),
        ("{{ '{\"a\": [1, null]}' | from_json }}", json!({"a": [1, null]})),
        ("{{ '[yes, 0644]' | from_yaml }}", json!([true, 420])),
        ("{{ 'a: 1\n---\nb: 2' | from_yaml_all | list }}", json!([{"a": 1}, {"b": 2}])),
        ("{{ {'b': 1, 'a': [1, 2]} | to_yaml }}", json!("a: [1, 2]\nb: 1\n")),
        ("{{ {'b': 'yes', 'a': [1, {'c': 'x y'}]} | to_nice_yaml }}", json!("a:\n- 1\n-   c: x y\nb: 'yes'\n")),
        (
            "{{ {'t': 'a\nb', 'q': \"it's: x\", 'c': 'a,b', 'n': [[1]]} | to_nice_yaml }}",
            json!("c: a,b\nn:\n-   - 1\nq: 'it''s: x'\nt: 'a\n\n    b'\n"),
        ),
        ("{{ [{'c': 'x,y'}] | to_yaml }}", json!("- {c: 'x,y'}\n")),
        ("{{ 'a b' | to_yaml }}", json!("a b\n")),
        ("{{ {'a': {'b': []}} | to_nice_yaml(indent=2) }}", json!("a:\n  b: []\n")),
        (
            "{{ ['012', '', 'a: b', '2026-11-23', none] | to_nice_yaml }}",
            json!("- '012'\n- ''\n- 'a: b'\n- '2026-11-23'\n- null\n"),
        ),
        ("{{ 'a%20b+c' | urldecode }}", json!("a b c")),
        ("{{ 'a b' | urlencode }}", json!("a%20b")),
        ("{{ 'http://u:p@Host:81/p?q=1#f' | urlsplit('hostname') }}", json!("host")),
        ("{{ 'http://u:p@Host:81/p?q=1#f' | urlsplit('port') }}", json!(81)),
        ("{{ ('http://u:p@Host:81/p?q=1#f' | urlsplit).query }}", json!("q=1")),
        ("{{ 'hello' | to_uuid }}", json!("9518e9b7-3af9-5e6c-b924-2eac65ffcd8e")),
        ("{{ 1024 | human_readable }}", json!("1.00 KB")),
        ("{{ 10 | human_readable }}", json!("10.00 Bytes")),
        ("{{ 1048576 | human_readable(isbits=true) }}", json!("1.00 Mb")),
        ("{{ '1.5K' | human_to_bytes }}", json!(1536)),
        ("{{ '2' | human_to_bytes(default_unit='M') }}", json!(2097152)),
        ("{{ 100 | log(10) }}", json!(2.0)),
        ("{{ 2 | pow(5) }}", json!(32.0)),
        ("{{ 9 | root }}", json!(3.0)),
        ("{{ '%Y-%m-%d %H' | strftime(0, utc=true) }}", json!("1970-01-01 00")),
        ("{{ 2.71459 | round(1) }}", json!(2.7)),
    ]);
}

#[test]
fn ansible_tests() {
    check_rows(vec![
        ("{{ '1.10' is version('1.9', '>') }}", json!(true)),
        ("{{ '1.0.0-rc1' is version('1.0.0', '<', version_type='semver') }}", json!(true)),
        ("{{ 'abc' is match('b') }}", json!(false)),
        ("{{ 'abc' is search('b') }}", json!(true)),
        ("{{ 'abc' is match('A', ignorecase=true) }}", json!(true)),
        ("{{ 'abc' is regex('c$') }}", json!(true)),
        ("{{ changed_result is changed }}", json!(true)),
        ("{{ loop_result is changed }}", json!(true)),
        ("{{ failed_result is failed }}", json!(true)),
        ("{{ failed_result is succeeded }}", json!(false)),
        ("{{ changed_result is success }}", json!(true)),
        ("{{ skipped_result is skipped }}", json!(true)),
        ("{{ failed_result is skipped }}", json!(false)),
        ("{{ changed_result is reachable }}", json!(true)),
        ("{{ 'yes' is truthy(convert_bool=true) }}", json!(true)),
        ("{{ 'no' is truthy }}", json!(true)),
        ("{{ '' is falsy }}", json!(true)),
        ("{{ l is contains(3) }}", json!(true)),
        ("{{ people | selectattr('tags', 'contains', 'c') | map(attribute='name') | list }}", json!(["bob"])),
        ("{{ [1] is subset(l) }}", json!(true)),
        ("{{ l is superset([1, 9]) }}", json!(false)),
        ("{{ [true, 1] is all }}", json!(true)),
        ("{{ [false, 0] is any }}", json!(false)),
        ("{{ '/x' is abs }}", json!(true)),
        ("{{ '/' is directory }}", json!(true)),
        ("{{ '/' is mount }}", json!(true)),
        ("{{ '/nowhere' is exists }}", json!(false)),
        ("{{ '/etc/..' is same_file('/') }}", json!(true)),
        ("{{ 'http://x/' is url }}", json!(true)),
        ("{{ 'mailto:x' is uri }}", json!(true)),
        ("{{ 'urn:isbn:1' is urn }}", json!(true)),
        ("{{ '$ANSIBLE_VAULT;1.1;AES256' is vault_encrypted }}", json!(true)),
        ("{{ l is sequence and d is mapping and s is string and x is number }}", json!(true)),
        ("{{ x is divisibleby 5 and x is odd }}", json!(true)),
        ("{{ s is ansible.builtin.search('wor') }}", json!(true)),
        ("{{ n is none and n is not ansible.builtin.string }}", json!(true)),
        ("{{ 'nan' | float is nan }}", json!(true)),
    ]);
}

#[test]
fn functions_and_lookups() {
    check_rows(vec![
        ("{{ range(3) | list }}", json!([0, 1, 2])),
        ("{{ lookup('env', 'CUTOVER_NO_SUCH_NAME') }}", json!("")),
        ("{{ lookup('env', 'CUTOVER_NO_SUCH_NAME', default='D') }}", json!("D")),
        ("{{ lookup('dict', {'a': 1}) }}", json!({"key": "a", "value": 1})),
        ("{{ query('dict', {'a': 1}) }}", json!([{"key": "a", "value": 1}])),
        ("{{ lookup('items', [1, [2]]) }}", json!([1, [2]])),
        ("{{ lookup('list', 'a', 'b') }}", json!("a,b")),
        ("{{ lookup('list', '{{ key }}{{ x }}', 'b') }}", json!("b5,b")),
        ("{{ '{{ key }}' }}", json!("{{ key }}")),
        (
            "{{ lookup('subelements', people + [{'skipped': true}], 'tags') | map(attribute=1) | list }}",
            json!(["a", "b", "c"]),
        ),
        ("{{ q('sequence', 'start=1 end=3 format=h%02d') }}", json!(["h01", "h02", "h03"])),
        ("{{ query('sequence', count=2) }}", json!(["1", "2"])),
        ("{{ query('sequence', '4-8/2') }}", json!(["4", "6", "8"])),
        ("{{ query('nested', [1, 2], ['a']) }}", json!([[1, "a"], [2, "a"]])),
        ("{{ query('together', [1, 2], ['a']) }}", json!([[1, "a"], [2, null]])),
        ("{{ query('indexed_items', ['a', 'b']) }}", json!([[0, "a"], [1, "b"]])),
        ("{{ query('subelements', people, 'tags') | map(attribute=1) | list }}", json!(["a", "b", "c"])),
        ("{{ query('flattened', [1, [2, [3]]]) }}", json!([1, 2, 3])),
        ("{{ lookup('vars', 'wrapped') }}", json!(5)),
        ("{{ lookup('vars', 'nope', default='D') }}", json!("D")),
        ("{{ query('varnames', '^peo') }}", json!(["people"])),
        ("{{ lookup('pipe', 'echo hi') }}", json!("hi")),
        ("{{ query('lines', 'printf \"a\nb\"') }}", json!(["a", "b"])),
        ("{{ lookup('random_choice', 'a') }}", json!("a")),
        ("{{ lookup('file', '/nowhere/at/all', errors='ignore') }}", json!(null)),
        ("{{ lookup('ansible.builtin.env', 'CUTOVER_NO_SUCH_NAME') | length }}", json!(0)),
        ("{{ now(fmt='%Y') | int > 2000 }}", json!(true)),
        ("{{ now(utc=true).strftime('%Y') == now().year | string }}", json!(true)),
        ("{{ dict(a=1) }}", json!({"a": 1})),
    ]);
}

#[test]
fn python_methods() {
    check_rows(vec![
        ("{{ s.split('o', 1) }}", json!(["hell", " world"])),
        ("{{ s.upper().startswith('HE') }}", json!(true)),
        ("{{ 'ab'.center(6, '-') }}", json!("--ab--")),
        ("{{ 'ab'.ljust(4) ~ '|' }}", json!("ab  |")),
        ("{{ 'ab'.rjust(4) }}", json!("  ab")),
        ("{{ '-7'.zfill(4) }}", json!("-007")),
        ("{{ 'a=b=c'.partition('=') | list }}", json!(["a", "=", "b=c"])),
        ("{{ 'a=b=c'.rpartition('=') | list }}", json!(["a=b", "=", "c"])),
        ("{{ 'a.b.c'.rsplit('.', 1) }}", json!(["a.b", "c"])),
        ("{{ 'xab'.removeprefix('x') }}", json!("ab")),
        ("{{ 'ab.gz'.removesuffix('.gz') }}", json!("ab")),
        ("{{ 'aB'.swapcase() }}", json!("Ab")),
        ("{{ 'abc'.index('c') }}", json!(2)),
        ("{{ 'a\tb'.expandtabs(4) }}", json!("a   b")),
        ("{{ ','.join(['a', 'b']) }}", json!("a,b")),
        ("{{ l.index(1) }}", json!(1)),
        ("{{ l.count(1) }}", json!(1)),
        ("{{ d.keys() | list }}", json!(["a", "b"])),
        ("{{ d.items() | list }}", json!([["a", 1], ["b", {"c": 2}]])),
        ("{{ d.get('zz', 3) }}", json!(3)),
        ("{{ lazy.keys() | list }}", json!(["ok", "bad", "deep"])),
        ("{{ lazy.get('ok') }}", json!(5)),
        ("{{ 'é'.encode().decode() }}", json!("é")),
        ("{{ '{}-{}'.format(s, x) }}", json!("hello world-5")),
    ]);
}

#[test]
fn what_python_prints_and_changes_is_so_here() {
    check_rows(vec![
        (
            "{{ (1, (2, [3, (4,)])) }} {{ {'a': (1,)} }} {{ (1,) | string }}",
            json!("[1, [2, [3, [4]]]] {'a': [1]} (1,)"),
        ),
        ("{{ 1e20 }} {{ 1.5e-7 }} {{ 1e16 }} {{ 0.0001 }} {{ 3.0 }}", json!("1e+20 1.5e-07 1e+16 0.0001 3.0")),
        ("{{ 'a<b>\"\\'' | length }} {{ 'a\\\\' }} {{ \"a\\\"b\" }}", json!("7 a\\\\ a\\\"b")),
        (
            "{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }}",
            json!("12121"),
        ),
        ("{{ {'a': [1, 2]} | to_json(separators=(',', ':')) }}", json!("{\"a\":[1,2]}")),
        ("{{ {'b': 1, 'a': ['x' * 90]} | pprint | length }}", json!(109)),
        (
            "{{ s is sequence }} {{ d is sequence }} {{ x is sequence }} {{ n is sequence }}",
            json!("True True False False"),
        ),
        (
            "{{ 'cab' | sort }} {{ people | sort(true, false, 'age') | map(attribute='name') }}",
            json!("['a', 'b', 'c'] ['ann', 'bob']"),
        ),
        // Of a variable the template has a copy, which it may change.
        ("  {% set _ = l.append(4) %}{{ l }}", json!("  [3, 1, 2, 4]")),
        ("{{ l }}", json!([3, 1, 2])),
        ("{{ d.pop('a') }} {{ d }}", json!("1 {'b': {'c': 2}}")),
        ("{{ left | default('d') }} {{ left is defined }} {{ left is undefined }}", json!("d False True")),
        ("{{ '2.0.dev1' is version('2.0a1', '<', version_type='pep440') }}", json!(true)),
    ]);
    for (template, says) in [
        ("{{ left }}", "play.yml:17:11"),
        ("{{ {'a': left} }}", "left undefined on purpose"),
        ("{{ [{'n': 2}, {'m': 1}] | sort(attribute='n') }}", "object of type 'dict' has no attribute 'n'"),
        ("{{ [{'n': 2}, {'m': 1}] | groupby('n') }}", "object of type 'dict' has no attribute 'n'"),
        ("{{ nope is sequence }}", "`nope` is undefined"),
    ] {
        let error = render(template).unwrap_err();
        assert!(error.contains(says), "{template}: {error}");
    }
}
