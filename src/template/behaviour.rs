//! What templates refuse, where they say it is, and what they need files, hosts or unknowns for.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::Source;
use crate::vars::{Scope, Var, layer_of};
use crate::yaml::Yaml;

use super::table::{TEMPLATES, node, render, scope};
use super::{Failure, Syntax};

mod errors {
    use super::*;

    fn drawn(text: &str, key: &str) -> String {
        let document = node(text);
        match TEMPLATES.render(document.get(key).unwrap(), &scope()) {
            Err(Failure::Wrong(diagnostic)) => diagnostic.to_string(),
            Err(Failure::Unknown(what)) => format!("unknown: {what}"),
            Ok(value) => format!("no error, but {value}"),
        }
    }

    fn place(text: &str, key: &str) -> String {
        let drawn = drawn(text, key);
        let line = drawn.lines().find(|line| line.contains("-->")).unwrap_or(&drawn).trim();
        line.trim_start_matches("--> ").into()
    }

    #[test]
    fn an_undefined_name_is_drawn_where_it_stands() {
        assert_eq!(
            drawn("a: 1\nmsg: \"hi {{ peeple }}\"\n", "msg"),
            "error: `peeple` is undefined\n --> play.yml:2:13\n  |\n2 | msg: \"hi {{ peeple }}\"\n  |             ^^^^^^\n  |\n  = hint: did you mean `people`?"
        );
    }

    #[test]
    fn the_place_is_right_in_every_style_of_scalar() {
        assert_eq!(place("m: a {{ nope }}\n", "m"), "play.yml:1:9");
        assert_eq!(place("m: 'it''s {{ nope }}'\n", "m"), "play.yml:1:14");
        assert_eq!(place("m: \"a\\tb {{ nope }}\"\n", "m"), "play.yml:1:13");
        assert_eq!(place("m: |\n  a\n    b {{ nope }}\n", "m"), "play.yml:3:10");
        assert_eq!(place("m: >-\n  a\n  b {{ nope }}\n", "m"), "play.yml:3:8");
        assert_eq!(place("m: a\n  b {{ nope }}\n", "m"), "play.yml:2:8");
        assert_eq!(place("m: \"a\n  b {{ nope }}\"\n", "m"), "play.yml:2:8");
    }

    #[test]
    fn a_rewritten_chain_does_not_move_the_place() {
        assert_eq!(place("m: \"{{ d.x.y | default(1) }} {{ nope }}\"\n", "m"), "play.yml:1:33");
    }

    #[test]
    fn use_of_the_undefined_is_an_error_that_names_it() {
        for template in [
            "{{ nope }}",
            "{{ nope | upper }}",
            "{{ nope | b64encode }}",
            "{% if nope %}a{% endif %}",
            "{{ nope == 1 }}",
            "{{ 'a' ~ nope }}",
            "{% for i in nope %}{% endfor %}",
            "{{ nope.a.b }}",
            "{{ nope.a | upper | default('D') }}",
            "{{ 1 if nope else 2 }}",
            "{{ not nope }}",
            "{{ bad }}",
        ] {
            let error = render(template).unwrap_err();
            assert!(error.contains("`nope"), "{template}: {error}");
            assert!(error.contains("is undefined"), "{template}: {error}");
        }
        assert!(render("{{ [nope] }}").unwrap_err().contains("undefined"));
        assert!(render("{{ lazy }}").unwrap_err().contains("`nope` is undefined"));
        assert!(render("{{ lazy | to_json }}").unwrap_err().contains("`nope` is undefined"));
        assert!(render("{{ l | difference([nope]) }}").unwrap_err().contains("undefined"));
        assert!(render("{{ x | nofilter }}").unwrap_err().contains("unknown filter `nofilter`"));
    }

    #[test]
    fn an_error_in_a_variable_is_shown_at_the_variable() {
        let document = node("a: \"{{ b }}\"\nb: \"{{ 1 / 0 }}\"\nc: \"{{ missing }}\"\nd: \"{{ c }}\"\n");
        let scope = Scope::new(vec![Arc::new(layer_of(&document))]);
        let error = |key: &str| match TEMPLATES.render(document.get(key).unwrap(), &scope) {
            Err(Failure::Wrong(diagnostic)) => diagnostic.to_string(),
            other => format!("{other:?}"),
        };
        assert!(error("a").contains("play.yml:2:"), "{}", error("a"));
        assert!(error("d").contains("`missing` is undefined"), "{}", error("d"));
        assert!(error("d").contains("play.yml:3:8"), "{}", error("d"));
    }

    #[test]
    fn a_circle_of_variables_is_named() {
        let document = node("a: \"{{ b }}\"\nb: \"{{ c }}\"\nc: \"{{ b }}\"\n");
        let scope = Scope::new(vec![Arc::new(layer_of(&document))]);
        let Err(Failure::Wrong(error)) = TEMPLATES.render(document.get("a").unwrap(), &scope) else { panic!() };
        assert_eq!(error.message, "variables refer to each other in a circle: `b` -> `c` -> `b`");
    }

    #[test]
    fn methods_that_would_change_a_list_say_what_to_write() {
        assert!(
            render("{{ people[0].tags.append(4) }}")
                .unwrap_err()
                .contains("hint: use `{% set list = list + [item] %}`")
        );
        assert_eq!(
            render(
                "{% set r = [] %}{% for i in l %}{% set _ = r.append(i) %}{% endfor %}{% set x = r.pop(0) %}{{ [r, x] }}"
            ),
            Ok(json!([[1, 2], 3]))
        );
        assert_eq!(
            render(
                "{% set r = l | list %}{% set _ = r.sort() %}{% set _ = r.insert(0, 9) %}{% set _ = r.extend([7]) %}{{ r }}"
            ),
            Ok(json!([9, 1, 2, 3, 7]))
        );
        assert_eq!(render("{% set r = [] %}{{ r.append(1) }}{{ r }}"), Ok(json!([1])));
        assert_eq!(render("{{ none }}"), Ok(json!(null)));
        let dict = "{% set r = {'a': 1, 'b': [1]} %}{% set _ = r.update({'c': 2}) %}{% set _ = r.pop('a') %}\
            {% set _ = r.setdefault('q', []).append(5) %}{% set _ = r.b.append(2) %}{{ r }}";
        assert_eq!(render(dict), Ok(json!({"b": [1, 2], "c": 2, "q": [5]})));
        for part in ["[r]", "dict(a=r)", "{'a': (r, 1)}"] {
            let text = format!("{{% set r = [] %}}{{% set _ = r.append({part}) %}}{{{{ r }}}}");
            assert!(render(&text).unwrap_err().contains("into itself"), "{part}");
        }
        assert!(render("{% set r = [1] %}{% set _ = r.remove(r) %}").unwrap_err().contains("is not in the list"));
        assert!(render("{% set d = {} %}{% set _ = d.setdefault(d, 1) %}").unwrap_err().contains("unhashable"));
        assert_eq!(render("{% set d = {} %}{% set _ = d.update({'a': 1}) %}{{ d[d] is defined }}"), Ok(json!(false)));
        assert!(render("{{ people[0].update({}) }}").unwrap_err().contains("combine"));
        assert!(render("{{ s % x }}").unwrap_err().contains("hint:"));
    }

    #[test]
    fn a_wrong_argument_is_refused() {
        assert!(
            render("{{ d | combine({}, recursiv=true) }}")
                .unwrap_err()
                .contains("`combine` has no argument `recursiv`")
        );
        assert!(render("{{ 'a' | hash('md6') }}").unwrap_err().contains("unknown hash `md6`"));
        assert!(render("{{ lookup('pasword', 'x') }}").unwrap_err().contains("unknown lookup `pasword`"));
        assert!(render("{{ undef(hint='set it in group_vars') }}").unwrap_err().contains("set it in group_vars"));
    }
}

mod checks {
    use super::*;

    fn found(text: &str, syntax: Syntax) -> Vec<String> {
        let document = node(&format!("m: {text}\n"));
        let found = TEMPLATES.check(document.get("m").unwrap(), syntax);
        found.0.iter().map(|error| format!("{} {:?} {:?}", error.message, error.place, error.hint)).collect()
    }

    #[test]
    fn unknown_names_are_found_with_their_places() {
        let some = |text: &str| format!("Some({text:?})");
        let rows = [
            ("'{{ a | basenme }}'", Syntax::Template, "unknown filter `basenme`", 12, some("did you mean `basename`?")),
            ("a is verson('1')", Syntax::Expression, "unknown test `verson`", 9, some("did you mean `version`?")),
            ("lokup('env', 'A')", Syntax::Expression, "unknown function `lokup`", 4, some("did you mean `lookup`?")),
            ("lookup('envv', 'A')", Syntax::Expression, "unknown lookup `envv`", 11, some("did you mean `env`?")),
            ("a | map('uper')", Syntax::Expression, "unknown filter `uper`", 12, some("did you mean `upper`?")),
            ("a | selectattr('b', 'eqq', 1)", Syntax::Expression, "unknown test `eqq`", 24, some("did you mean `eq`?")),
        ];
        for (text, syntax, message, column, hint) in rows {
            let expected = format!("{message} Some(play.yml:1:{column}) {hint}");
            assert!(found(text, syntax).contains(&expected), "{text}: {:?} and not {expected}", found(text, syntax));
        }
    }

    #[test]
    fn bad_syntax_is_found_and_good_syntax_is_not() {
        assert!(found("'{{ a | }}'", Syntax::Template)[0].starts_with("template syntax"));
        assert!(found("a ==", Syntax::Expression)[0].starts_with("template syntax"));
        for text in [
            "'{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1) }}'",
            "'{% for k, v in d.items() %}{{ loop.index }}{{ k }}{% endfor %}'",
            "'{{ a.b is not defined or a | ansible.builtin.default(1) }}'",
            "'{{ (a and (b or not (c))) | bool }}'",
            "'{% if a in (1, 2) %}{% elif (b) %}{% endif %}'",
            "'{{ hostvars[x].y }} {{ omit }} {{ range(3) }} {{ namespace(a=1) }}'",
            "'{% filter upper %}a{% endfilter %}'",
            "'{% raw %}{{ a | nope }}{% endraw %}'",
            "!unsafe '{{ a | nope }}'",
        ] {
            assert_eq!(found(text, Syntax::Template), Vec::<String>::new(), "{text}");
        }
    }
}

mod conditions {
    use super::*;

    fn holds(text: &str) -> Result<bool, String> {
        let document = node(&format!("when: {text}\n"));
        TEMPLATES.condition(document.get("when").unwrap(), &scope()).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn conditions_are_expressions_booleans_and_lists() {
        for (text, expected) in [
            ("true", true),
            ("no", false),
            ("x == 5", true),
            ("x == 5 and not no_", true),
            ("nope is defined", false),
            ("nope.a is defined and nope.a", false),
            ("[t, x > 9]", false),
            ("[t, x > 4]", true),
            ("[]", true),
            ("'\"hello\" in s'", true),
            ("\"{{ t }}\"", true),
            ("\"{{ x }}\" ", false),
            ("changed_result is changed", true),
            ("lazy.ok == 5", true),
            ("\"'{{ s }}' == 'hello world'\"", true),
            ("\"'{{ x }}' in ['4', '{{ x }}']\"", true),
            ("\"{{ expression }}\"", true),
        ] {
            match (text, holds(text)) {
                ("\"{{ x }}\" ", result) => assert!(result.unwrap_err().contains("without `{{ }}`")),
                (_, result) => assert_eq!(result, Ok(expected), "{text}"),
            }
        }
    }

    #[test]
    fn what_is_no_boolean_is_refused() {
        assert!(holds("s").unwrap_err().contains("the text \\\"hello world\\\" and not a boolean"));
        assert!(holds("l").unwrap_err().contains("length"));
        assert!(holds("x").unwrap_err().contains("the number 5"));
        assert!(holds("nope").unwrap_err().contains("`nope` is undefined"));
        assert!(holds("nope.a").unwrap_err().contains("is undefined"));
    }
}

mod unknowns {
    use super::*;

    fn with_unknown(text: &str) -> Result<Value, Failure> {
        let layer = [("result".to_string(), Var::Unknown("result of task `run`".into()))].into_iter().collect();
        let vars = node("uses: \"{{ result.stdout }}\"\nmixed: {a: \"{{ result.rc }}\", b: 1}\n");
        let scope = Scope::new(vec![Arc::new(layer), Arc::new(layer_of(&vars))]);
        TEMPLATES.render(&node(text), &scope)
    }

    #[test]
    fn using_what_is_unknown_is_unknown_and_says_whose() {
        for text in [
            "'{{ result.stdout }}'",
            "'{{ uses }}'",
            "'{{ result is changed }}'",
            "'{{ uses | default(1) }}'",
            "'{{ mixed }}'",
        ] {
            match with_unknown(text) {
                Err(Failure::Unknown(what)) => assert_eq!(&*what, "result of task `run`"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_does_not_use_it_is_known() {
        assert_eq!(with_unknown("'{{ mixed.b }}'").unwrap(), json!(1));
        assert_eq!(with_unknown("'{{ 1 if true else result.rc }}'").unwrap(), json!(1));
    }
}

mod files {
    use super::*;
    use crate::host::TemplateOptions;
    use crate::template::Use;

    fn text_of(text: &str, path: std::path::PathBuf) -> Result<String, String> {
        let source = Arc::new(Source { path, text: text.into() });
        TEMPLATES.text(Use::Host, (&source, &TemplateOptions::default()), &scope()).map_err(|failure| match failure {
            Failure::Wrong(diagnostic) => diagnostic.to_string(),
            Failure::Unknown(what) => what.to_string(),
        })
    }

    fn text(text: &str) -> Result<String, String> {
        text_of(text, "t.j2".into())
    }

    #[test]
    fn a_template_file_is_text() {
        // One expression that is no text has no newline behind it, in ansible-core 2.19.
        assert_eq!(text("{{ x }}\n").unwrap(), "5");
        assert_eq!(text("{{ s }}\n\n").unwrap(), "hello world\n\n");
        assert_eq!(text("{% for i in l %}{{ i }},{% endfor %}\n").unwrap(), "3,1,2,\n");
        assert_eq!(text("{% if not t %}a{% endif %}\n").unwrap(), "");
        assert_eq!(text("a\r\n{% if t %}\r\nb\r\n{% endif %}\r\n").unwrap(), "a\nb\n");
        assert_eq!(text("{% if t %}\na\n{% endif %}\n{{ raw }}\n").unwrap(), "a\n{{ x }}\n");
        assert_eq!(text("{{ lazy.deep | to_json }}").unwrap(), "[\"hello world\", {\"k\": [3, 1, 2]}]");
        assert_eq!(text("{{ nope.a | default('<b>') }}").unwrap(), "<b>");
    }

    #[test]
    fn the_first_line_may_set_options() {
        let header = "#jinja2: trim_blocks: False, variable_start_string: '[%', variable_end_string: '%]'\n";
        assert_eq!(text(&format!("{header}{{% if t %}}\n[% x %]\n{{% endif %}}\n")).unwrap(), "\n5\n");
        let error = text(&format!("{header}a [% nope %]\n")).unwrap_err();
        assert!(error.contains("t.j2:2:6"), "{error}");
    }

    #[test]
    fn an_error_is_placed_in_the_file() {
        let error = text("a\n{{ d.x | default(1) }} {{ nope }}\n").unwrap_err();
        assert!(error.starts_with("error: `nope` is undefined\n --> t.j2:2:27"), "{error}");
    }

    #[test]
    fn a_template_includes_the_files_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("part.j2"), "part {{ x }} {{ nope.a | default('D') }}").unwrap();
        let path = directory.path().join("main.j2");
        assert_eq!(text_of("{% include 'part.j2' %}!", path.clone()).unwrap(), "part 5 D!");
        assert!(text_of("{% include 'gone.j2' %}", path).is_err());
    }

    #[test]
    fn lookups_find_files_of_the_role() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("files")).unwrap();
        std::fs::create_dir_all(directory.path().join("templates")).unwrap();
        std::fs::write(directory.path().join("files/key.pub"), "ssh-ed25519 AAA\n").unwrap();
        std::fs::write(directory.path().join("files/a.csv"), "ann,1,\"x,y\"\n").unwrap();
        std::fs::write(directory.path().join("files/a.ini"), "[one]\nk = 1\n[two]\nk = 2\n").unwrap();
        std::fs::write(directory.path().join("templates/t.j2"), "{{ x }}-{{ extra | default('none') }}").unwrap();
        let mut scope = scope();
        scope.search = [directory.path().to_path_buf()].into();
        let render = |text: &str| {
            let source = Arc::new(Source { path: "play.yml".into(), text: text.into() });
            let node = Yaml::text_at(text, &crate::error::Place::new(&source, 1, 1));
            TEMPLATES.render(&node, &scope).map_err(|failure| format!("{failure:?}")).unwrap()
        };
        let file = |name: &str| json!(directory.path().join("files").join(name).to_str().unwrap());
        assert_eq!(render("{{ lookup('file', 'key.pub') }}"), json!("ssh-ed25519 AAA"));
        assert_eq!(render("{{ query('fileglob', '*.pub') }}"), json!([file("key.pub")]));
        assert_eq!(render("{{ lookup('first_found', ['gone', 'a.ini']) }}"), file("a.ini"));
        assert_eq!(render("{{ query('first_found', 'gone', skip=true) }}"), json!([]));
        assert_eq!(render("{{ lookup('csvfile', 'ann file=a.csv delimiter=, col=2') }}"), json!("x,y"));
        assert_eq!(render("{{ lookup('ini', 'k', section='two', file='a.ini') }}"), json!("2"));
        assert_eq!(render("{{ lookup('template', 't.j2', template_vars={'extra': 'E'}) }}"), json!("5-E"));
    }

    #[test]
    fn with_loops_run_their_lookup() {
        let run = |name: &str, terms: Value| TEMPLATES.lookup(name, &terms, &scope());
        assert_eq!(run("items", json!([1, [2, 3]])).unwrap(), json!([1, 2, 3]));
        assert_eq!(run("dict", json!({"a": 1})).unwrap(), json!([{"key": "a", "value": 1}]));
        assert_eq!(run("nested", json!([[1, 2], ["a"]])).unwrap(), json!([[1, "a"], [2, "a"]]));
        assert_eq!(run("sequence", json!("start=1 end=2")).unwrap(), json!(["1", "2"]));
        assert!(
            matches!(run("itms", json!([])), Err(Failure::Wrong(error)) if error.hint.as_deref() == Some("did you mean `items`?"))
        );
    }
}

mod arbitrary {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_makes_a_template_panic(text in "([{}%#|.()\\[\\]'\"\\\\ \n\t,:~=+*/<>-]|x|d|l|nope|if|is|not|defined|default|for|in|set|é|1){0,24}") {
            for text in [text.clone(), format!("{{{{ {text} }}}}"), format!("{{% {text} %}}"), format!("{{{{ {text} | default(1) }}}}")] {
                let source = Arc::new(Source { path: "t".into(), text: text.clone() });
                let node = Yaml::text_at(text.clone(), &crate::error::Place::new(&source, 1, 1));
                for syntax in [Syntax::Template, Syntax::Expression] {
                    let found = TEMPLATES.check(&node, syntax);
                    let _ = found.to_string();
                }
                if let Err(Failure::Wrong(error)) = TEMPLATES.render(&node, &scope()) {
                    prop_assert!(!error.to_string().is_empty());
                }
                let _ = TEMPLATES.condition(&node, &scope());
            }
        }
    }
}

mod hosts {
    use super::*;
    use crate::inventory::Inventory;
    use crate::vars::Fleet;
    use crate::vars::fleet::TaskLayers;

    #[test]
    fn other_hosts_variables_are_rendered_as_theirs() {
        let fleet = Arc::new(Fleet::new(Inventory::load(&["old,new,".into()]).unwrap(), Default::default()));
        let layer = layer_of(&node("ip: \"10.0.0.{{ last }}\"\nlast: 1\nloops: \"{{ hostvars['new'].loops }}\"\n"));
        for (name, value) in layer {
            fleet.set_fact("new", &name, value);
        }
        fleet.set_fact("old", "last", Var::Known(json!(2)));
        let scope = fleet.scope("old", &TaskLayers::default());
        let render = |text: &str| {
            let source = Arc::new(Source { path: "play.yml".into(), text: text.into() });
            let node = Yaml::text_at(text, &crate::error::Place::new(&source, 1, 1));
            TEMPLATES.render(&node, &scope).map_err(|failure| format!("{failure:?}"))
        };
        assert_eq!(render("{{ hostvars['new'].ip }}"), Ok(json!("10.0.0.1")));
        assert_eq!(render("{{ hostvars.new['last'] + last }}"), Ok(json!(3)));
        assert_eq!(render("{{ hostvars['gone'].ip | default('none') }}"), Ok(json!("none")));
        assert_eq!(render("{{ hostvars | list }}"), Ok(json!(["old", "new"])));
        assert_eq!(render("{{ ['new', 'old'] | map('extract', hostvars, 'last') | list }}"), Ok(json!([1, 2])));
        assert!(render("{{ hostvars['gone'].ip }}").unwrap_err().contains("hostvars['gone']"));
        assert!(render("{{ hostvars['new'].loops }}").unwrap_err().contains("in a circle"));
    }
}
