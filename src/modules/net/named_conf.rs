//! A file of BIND's configuration (named.conf.5): its zone statements with their places in the text, so that an edit leaves all
//! else as it is.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Open,
    Close,
    End,
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    at: Range<usize>,
}

/// A text and its tokens, without comments.
pub struct Conf<'a> {
    text: &'a str,
    tokens: Vec<Token>,
}

/// A statement with braces, by the indices of its tokens.
#[derive(Clone, Copy, Debug)]
struct Block {
    first: usize,
    open: usize,
    close: usize,
}

impl<'a> Conf<'a> {
    /// Reads a text, or says what is wrong with it.
    pub fn read(text: &'a str) -> Result<Conf<'a>, String> {
        let bytes = text.as_bytes();
        let (mut tokens, mut at) = (Vec::new(), 0);
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        while at < bytes.len() {
            let rest = &text[at..];
            let (kind, length) = match bytes[at] {
                byte if byte.is_ascii_whitespace() => (None, 1),
                b'#' => (None, rest.find('\n').unwrap_or(rest.len())),
                b'/' if rest.starts_with("//") => (None, rest.find('\n').unwrap_or(rest.len())),
                b'/' if rest.starts_with("/*") => {
                    let end = rest.find("*/").ok_or_else(|| format!("line {}: a comment without an end", line(at)))?;
                    (None, end + 2)
                }
                b'{' => (Some(Kind::Open), 1),
                b'}' => (Some(Kind::Close), 1),
                b';' => (Some(Kind::End), 1),
                b'"' => {
                    let mut end = 1;
                    while bytes.get(at + end).is_some_and(|byte| *byte != b'"') {
                        end += if bytes[at + end] == b'\\' { 2 } else { 1 };
                    }
                    if at + end >= bytes.len() {
                        return Err(format!("line {}: a text without its closing quote", line(at)));
                    }
                    (Some(Kind::Word), end + 1)
                }
                _ => {
                    let ends = |letter: char| letter.is_ascii_whitespace() || "{};\"#".contains(letter);
                    (Some(Kind::Word), rest.find(ends).unwrap_or(rest.len()))
                }
            };
            tokens.extend(kind.map(|kind| Token { kind, at: at..at + length }));
            at += length;
        }
        let conf = Conf { text, tokens };
        let depth = conf.tokens.iter().try_fold(0_usize, |depth, token| match token.kind {
            Kind::Open => Some(depth + 1),
            Kind::Close => depth.checked_sub(1),
            _ => Some(depth),
        });
        if depth == Some(0) { Ok(conf) } else { Err("its braces do not match".into()) }
    }

    fn word(&self, index: usize) -> &'a str {
        let Some(token) = self.tokens.get(index).filter(|token| token.kind == Kind::Word) else { return "" };
        self.text[token.at.clone()].trim_matches('"')
    }

    /// Returns the statements that begin with `word` between two tokens, and have braces.
    fn blocks(&self, word: &str, (from, to): (usize, usize)) -> Vec<Block> {
        let (mut found, mut first, mut index) = (Vec::new(), from, from);
        while index < to {
            match self.tokens[index].kind {
                Kind::End => first = index + 1,
                Kind::Open => {
                    let close = self.close_of(index);
                    if self.word(first).eq_ignore_ascii_case(word) {
                        found.push(Block { first, open: index, close });
                    }
                    index = close;
                }
                _ => {}
            }
            index += 1;
        }
        found
    }

    fn close_of(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (index, token) in self.tokens.iter().enumerate().skip(open) {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close if depth == 1 => return index,
                Kind::Close => depth -= 1,
                _ => {}
            }
        }
        self.tokens.len()
    }

    /// Returns the zone's statement, in whatever view; several are an error.
    fn zone(&self, zone: &str) -> Result<Option<Block>, String> {
        let mut all = self.blocks("zone", (0, self.tokens.len()));
        for view in self.blocks("view", (0, self.tokens.len())) {
            all.extend(self.blocks("zone", (view.open + 1, view.close)));
        }
        let bare = |name: &str| name.trim_end_matches('.').to_lowercase();
        all.retain(|block| bare(self.word(block.first + 1)) == bare(zone));
        match all.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(format!("it has {} statements for the zone `{zone}`", all.len())),
        }
    }

    /// Returns the words of a statement that is nothing but words: `type`, as a zone has it.
    fn simple(&self, word: &str, block: Block) -> Option<&'a str> {
        let starts = |index: usize| matches!(self.tokens[index - 1].kind, Kind::Open | Kind::End);
        let mut all = (block.open + 1..block.close).filter(|index| starts(*index));
        all.find(|index| self.word(*index).eq_ignore_ascii_case(word)).map(|index| self.word(index + 1))
    }

    /// Returns the elements of a list in braces, their words with single spaces between.
    fn elements(&self, list: Block) -> Vec<String> {
        let (mut elements, mut words, mut index) = (Vec::new(), Vec::new(), list.open + 1);
        while index < list.close {
            let token = &self.tokens[index];
            if token.kind == Kind::End {
                elements.push(std::mem::take(&mut words).join(" "));
            } else {
                words.push(&self.text[token.at.clone()]);
            }
            index += 1;
        }
        elements
    }

    /// Returns a list that `options` has for all zones.
    pub fn option(&self, name: &str) -> Option<Vec<String>> {
        let options = self.blocks("options", (0, self.tokens.len()));
        let options = options.first()?;
        let list = self.blocks(name, (options.open + 1, options.close));
        list.first().map(|list| self.elements(*list))
    }

    /// Says what the zone is here: `primary`, `secondary`; nothing where it has no statement.
    pub fn kind(&self, zone: &str) -> Result<Option<String>, String> {
        let Some(block) = self.zone(zone)? else { return Ok(None) };
        Ok(Some(match self.simple("type", block).unwrap_or_default() {
            "master" => "primary".into(),
            "slave" => "secondary".into(),
            other => other.to_lowercase(),
        }))
    }

    /// Says whether the zone has a list of its own by this name.
    pub fn has_list(&self, zone: &str, name: &str) -> Result<bool, String> {
        let zone = self.zone(zone)?;
        Ok(zone.is_some_and(|zone| !self.blocks(name, (zone.open + 1, zone.close)).is_empty()))
    }

    fn spaced(&self, from: usize, to: usize) -> Vec<&'a str> {
        self.tokens[from..to].iter().map(|token| &self.text[token.at.clone()]).collect()
    }
}

/// Returns the text with `body` as all that the zone's statement has; a missing one comes last.
pub fn stated(text: &str, zone: &str, body: &str) -> Result<String, String> {
    let conf = Conf::read(text)?;
    let wanted = Conf::read(body)?;
    let lines = body.trim().lines().map(|line| format!("\t{}\n", line.trim()));
    let lines: String = lines.collect();
    match conf.zone(zone)? {
        Some(block) => {
            let same = conf.spaced(block.open + 1, block.close) == wanted.spaced(0, wanted.tokens.len());
            if same {
                return Ok(text.into());
            }
            let (open, close) = (conf.tokens[block.open].at.end, conf.tokens[block.close].at.start);
            Ok(format!("{}\n{lines}{}", &text[..open], &text[close..]))
        }
        None => {
            let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            Ok(format!("{text}{gap}zone \"{zone}\" {{\n{lines}}};\n"))
        }
    }
}

/// Returns the text without the zone's statement.
pub fn without(text: &str, zone: &str) -> Result<String, String> {
    let conf = Conf::read(text)?;
    let Some(block) = conf.zone(zone)? else { return Ok(text.into()) };
    let end = conf.tokens.get(block.close + 1).filter(|token| token.kind == Kind::End);
    let end = end.map_or(conf.tokens[block.close].at.end, |token| token.at.end);
    let rest = text[end..].strip_prefix('\n').unwrap_or(&text[end..]);
    Ok(format!("{}{rest}", &text[..conf.tokens[block.first].at.start]))
}

/// Returns the text with `element` among those of the zone's list `name`, before the others: the first that fits decides.
/// A zone without the list of its own gets one, which is instead of the one in `options`: `inherited` are its elements.
pub fn listed(text: &str, zone: &str, (name, element): (&str, &str), inherited: &[String]) -> Result<String, String> {
    let conf = Conf::read(text)?;
    let Some(block) = conf.zone(zone)? else { return Err(format!("it has no statement for the zone `{zone}`")) };
    let list = conf.blocks(name, (block.open + 1, block.close)).first().copied();
    let there = list.map_or_else(|| inherited.to_vec(), |list| conf.elements(list));
    if there.iter().any(|one| one == element || one == "any") {
        return Ok(text.into());
    }
    Ok(match list {
        Some(list) => {
            let at = conf.tokens[list.open].at.end;
            format!("{} {element};{}", &text[..at], &text[at..])
        }
        None => {
            let all: String = [element.to_string()].iter().chain(inherited).map(|one| format!(" {one};")).collect();
            let at = conf.tokens[block.close].at.start;
            let gap = if text[..at].ends_with('\n') { "" } else { "\n" };
            format!("{}{gap}\t{name} {{{all} }};\n{}", &text[..at], &text[at..])
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "# zone \"example.com\" { };\noptions {\n  also-notify { 192.0.2.9; };\n};\n\
        zone example.com IN { /* } */ type master; file \"a};b\"; allow-transfer { none; }; };\n\
        view \"inside\" {\n  zone \"Example.org.\" {\n    type slave; // zone\n    masters { 192.0.2.1 port 53; };\n  };\n};\n";

    #[test]
    fn zone_statements_are_found_whatever_stands_around_them() {
        let conf = Conf::read(CONF).unwrap();
        assert_eq!(conf.kind("example.com").unwrap().as_deref(), Some("primary"));
        assert_eq!(conf.kind("example.org").unwrap().as_deref(), Some("secondary"));
        assert_eq!(conf.kind("example.net").unwrap(), None);
        assert_eq!(conf.option("also-notify").unwrap(), ["192.0.2.9"]);
        assert_eq!(conf.option("allow-transfer"), None);
        let twice = format!("{CONF}zone example.com {{ type primary; }};\n");
        assert!(Conf::read(&twice).unwrap().kind("example.com").unwrap_err().contains("2 statements"));
        for (text, why) in
            [("zone x {", "braces"), ("}", "braces"), ("a \"b", "line 1: a text"), ("\n/* x", "line 2: a comment")]
        {
            assert!(Conf::read(text).err().unwrap().contains(why), "{text}");
        }
    }

    #[test]
    fn an_element_comes_first_and_what_options_had_for_all_zones_stays() {
        let open = listed(CONF, "example.com", ("allow-transfer", "192.0.2.5"), &[]).unwrap();
        assert!(open.contains("allow-transfer { 192.0.2.5; none; };"), "{open}");
        assert_eq!(listed(&open, "example.com", ("allow-transfer", "192.0.2.5"), &[]).unwrap(), open);
        let told = listed(CONF, "example.com", ("also-notify", "192.0.2.5 port 54"), &["192.0.2.9".into()]).unwrap();
        assert!(told.contains("none; }; \n\talso-notify { 192.0.2.5 port 54; 192.0.2.9; };\n};\nview"), "{told}");
        assert_eq!(listed(&told, "example.com", ("also-notify", "192.0.2.5 port 54"), &[]).unwrap(), told);
        assert!(listed(CONF, "example.net", ("also-notify", "192.0.2.5"), &[]).unwrap_err().contains("no statement"));
    }

    #[test]
    fn a_statement_is_set_as_a_whole_and_taken_out() {
        let body = "type secondary;\nprimaries { 192.0.2.1; };";
        let made = stated("", "example.net", body).unwrap();
        assert_eq!(made, "zone \"example.net\" {\n\ttype secondary;\n\tprimaries { 192.0.2.1; };\n};\n");
        assert_eq!(stated(&made, "example.net", "type secondary; primaries {192.0.2.1;};").unwrap(), made);
        assert_eq!(without(&made, "example.net").unwrap(), "");
        let other = stated(CONF, "example.org", body).unwrap();
        assert!(
            other.contains("  zone \"Example.org.\" {\n\ttype secondary;\n\tprimaries { 192.0.2.1; };\n};\n};\n"),
            "{other}"
        );
        assert_eq!(without(CONF, "example.net").unwrap(), CONF);
    }
}
