//! Filters that encode, decode and digest.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};
use serde_json::Value as Json;
use sha1::{Digest, Sha1};

use crate::crypt::{self, hex};
use crate::web::percent_encode;
use crate::yaml::load;

use super::super::call::{Call, Row, text, whole, wrong};
use super::super::values::{items, json, pairs, python_type, value};
use super::yaml;

pub(super) const FILTERS: &[Row] = &[
    ("b64decode", base64_decode),
    ("b64encode", base64_encode),
    ("checksum", |call| digest(call, "sha1")),
    ("from_json", from_json),
    ("from_yaml", |call| Ok(documents(call)?.into_iter().next().unwrap_or(Value::from(())))),
    ("from_yaml_all", |call| Ok(documents(call)?.into())),
    ("hash", |call| {
        let input = call.value()?;
        let kind = call.next_text("hashtype")?.unwrap_or_else(|| "sha1".into());
        hash(&input, &kind)
    }),
    ("md5", |call| digest(call, "md5")),
    ("sha1", |call| digest(call, "sha1")),
    ("to_json", |call| to_json(call, None, false)),
    ("to_nice_json", |call| to_json(call, Some(4), true)),
    ("to_nice_yaml", |call| to_yaml(call, 4, true)),
    ("to_uuid", to_uuid),
    ("to_yaml", |call| to_yaml(call, 2, false)),
    ("urlencode", url_encode),
    ("xmlattr", xml_attributes),
    ("urldecode", |call| Ok(url_decode(&call.text()?.replace('+', " ")).into())),
    ("urlsplit", url_split),
];

fn base64_encode(call: &mut Call) -> Result<Value, Error> {
    let input = call.text()?;
    let bytes = match call.next_text("encoding")?.unwrap_or_default().to_lowercase().replace('_', "-").as_str() {
        "utf-16" => encode_utf16(&format!("\u{feff}{input}"), u16::to_le_bytes),
        "utf-16-le" | "utf-16le" => encode_utf16(&input, u16::to_le_bytes),
        "utf-16-be" | "utf-16be" => encode_utf16(&input, u16::to_be_bytes),
        "" | "utf-8" | "utf8" | "ascii" => input.into_bytes(),
        encoding => encode_as(&input, encoding)?,
    };
    let url_safe = call.keyword("urlsafe").is_some_and(|flag| flag.is_true());
    Ok(if url_safe { URL_SAFE.encode(bytes) } else { STANDARD.encode(bytes) }.into())
}

fn base64_decode(call: &mut Call) -> Result<Value, Error> {
    let input: String = call.text()?.split_whitespace().collect();
    let encoding = call.next_text("encoding")?.filter(|name| !is_utf8(name));
    let url_safe = call.keyword("urlsafe").is_some_and(|flag| flag.is_true());
    let bytes = if url_safe { URL_SAFE.decode(input) } else { STANDARD.decode(input) };
    let bytes = bytes.map_err(|error| wrong(format!("this is not base64: {error}")))?;
    if let Some(name) = encoding {
        let label = name.to_lowercase().replace('_', "-").replace("16-", "16");
        let known = encoding_rs::Encoding::for_label(label.as_bytes());
        let known = known.ok_or_else(|| wrong(format!("unknown encoding: {name}")))?;
        return Ok(known.decode(&bytes).0.into_owned().into());
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(error) => Value::from_bytes(error.into_bytes()),
    })
}

fn encode_utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

fn encode_as(text: &str, name: &str) -> Result<Vec<u8>, Error> {
    let known = encoding_rs::Encoding::for_label(name.as_bytes());
    let known = known.ok_or_else(|| wrong(format!("unknown encoding: {name}")))?;
    match known.encode(text) {
        (bytes, _, false) => Ok(bytes.into_owned()),
        _ => Err(wrong(format!("'{name}' codec can't encode this text"))),
    }
}

/// Text as a path, a mapping or pairs as a query.
fn url_encode(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let entries = match value.kind() {
        ValueKind::Map => pairs(&value)?,
        ValueKind::Seq | ValueKind::Iterable => {
            let pair = |item: Value| Ok((item.get_item(&0.into())?, item.get_item(&1.into())?));
            items(&value)?.into_iter().map(pair).collect::<Result<_, Error>>()?
        }
        _ => return Ok(percent_encode(&text(&value), "/").into()),
    };
    let plus = |value: &Value| percent_encode(&text(value), " ").replace(' ', "+");
    let entries: Vec<String> = entries.iter().map(|(name, value)| format!("{}={}", plus(name), plus(value))).collect();
    Ok(entries.join("&").into())
}

/// The attributes of an XML element, a blank before the first.
fn xml_attributes(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let spaced = call.next("autospace")?.is_none_or(|flag| flag.is_true());
    let escape = |value: &Value| {
        let text = text(value).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text.replace('"', "&#34;").replace('\'', "&#39;")
    };
    let given = pairs(&value)?.into_iter().filter(|(_, value)| !value.is_none() && !value.is_undefined());
    let written: Vec<String> = given.map(|(name, value)| format!("{name}=\"{}\"", escape(&value))).collect();
    let written = written.join(" ");
    Ok(if spaced && !written.is_empty() { format!(" {written}") } else { written }.into())
}

fn is_utf8(encoding: &str) -> bool {
    matches!(encoding.to_lowercase().as_str(), "utf-8" | "utf8" | "ascii")
}

fn digest(call: &mut Call, kind: &str) -> Result<Value, Error> {
    let input = call.value()?;
    hash(&input, kind)
}

fn hash(input: &Value, kind: &str) -> Result<Value, Error> {
    let text = input.to_string();
    let bytes = input.as_bytes().unwrap_or(text.as_bytes());
    let known = crypt::DIGESTS.join(", ");
    let digest = crypt::digest(kind, bytes);
    digest.map(Value::from).ok_or_else(|| wrong(format!("unknown hash `{kind}`\nhint: one of {known}")))
}

/// A version 5 UUID in Ansible's namespace, or the one given.
fn to_uuid(call: &mut Call) -> Result<Value, Error> {
    let name = call.text()?;
    let namespace = call.next_text("namespace")?.unwrap_or_else(|| "361E6D51-FAEC-444A-9079-341386DA8E2E".into());
    let digits: Vec<u8> = namespace.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    if digits.len() != 32 {
        return Err(wrong(format!("`{namespace}` is not a UUID")));
    }
    let mut input: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    input.extend(name.as_bytes());
    let mut bytes = Sha1::digest(&input)[..16].to_vec();
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]).into())
}

fn from_json(call: &mut Call) -> Result<Value, Error> {
    let input = call.value()?;
    let Some(text) = input.as_str() else {
        return Err(wrong(format!("`from_json` needs text, not {}", python_type(&input))));
    };
    let parsed: Json = serde_json::from_str(text).map_err(|error| wrong(format!("this is not JSON: {error}")))?;
    Ok(value(&parsed))
}

fn documents(call: &mut Call) -> Result<Vec<Value>, Error> {
    let input = call.value()?;
    let Some(text) = input.as_str() else { return Ok(vec![input]) };
    let source = crate::error::Source { path: "from_yaml".into(), text: text.into() };
    let documents = load(&source.into()).map_err(|error| wrong(format!("this is not YAML: {}", error.message)))?;
    Ok(documents.iter().map(|document| value(&document.to_value())).collect())
}

fn to_json(call: &mut Call, indent: Option<usize>, sorted: bool) -> Result<Value, Error> {
    let input = json(&call.value()?)?;
    let indent = call.next_number("indent")?.map(|indent| indent.max(0) as usize).or(indent);
    let sorted = call.next("sort_keys")?.map_or(sorted, |flag| flag.is_true());
    let ascii = call.next("ensure_ascii")?.is_none_or(|flag| flag.is_true());
    let separators = match call.keyword("separators").filter(|given| !given.is_none()) {
        None => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
        Some(given) => match items(&given)?.as_slice() {
            [item, key] => (text(item), text(key)),
            _ => return Err(wrong("`separators` are two: that of items and that behind a key")),
        },
    };
    // Accepted by Ansible; they do not change what plain values look like.
    call.keyword("preprocess_unsafe");
    call.keyword("vault_to_text");
    let mut out = String::new();
    JsonStyle { indent, sorted, ascii, separators }.write(&input, 0, &mut out);
    Ok(out.into())
}

/// How Python's `json.dumps` is asked to write.
pub(in super::super) struct JsonStyle {
    pub indent: Option<usize>,
    pub sorted: bool,
    pub ascii: bool,
    /// What stands between two items, and between a key and its value.
    pub separators: (String, String),
}

impl JsonStyle {
    pub fn write(&self, json: &Json, depth: usize, out: &mut String) {
        match json {
            Json::Array(list) if !list.is_empty() => {
                out.push('[');
                for (index, item) in list.iter().enumerate() {
                    self.separate(index, depth + 1, out);
                    self.write(item, depth + 1, out);
                }
                self.close(depth, ']', out);
            }
            Json::Object(map) if !map.is_empty() => {
                let mut entries: Vec<(&String, &Json)> = map.iter().collect();
                if self.sorted {
                    entries.sort_by_key(|(key, _)| *key);
                }
                out.push('{');
                for (index, (key, item)) in entries.into_iter().enumerate() {
                    self.separate(index, depth + 1, out);
                    self.text(key, out);
                    out.push_str(&self.separators.1);
                    self.write(item, depth + 1, out);
                }
                self.close(depth, '}', out);
            }
            Json::String(text) => self.text(text, out),
            other => out.push_str(&other.to_string()),
        }
    }

    fn separate(&self, index: usize, depth: usize, out: &mut String) {
        match (self.indent, index) {
            (Some(indent), _) => {
                out.push_str(if index > 0 { &self.separators.0 } else { "" });
                out.push('\n');
                out.push_str(&" ".repeat(indent * depth));
            }
            (None, 0) => {}
            (None, _) => out.push_str(&self.separators.0),
        }
    }

    fn close(&self, depth: usize, bracket: char, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent * depth));
        }
        out.push(bracket);
    }

    fn text(&self, text: &str, out: &mut String) {
        for c in Json::from(text).to_string().chars() {
            if self.ascii && !c.is_ascii() {
                let mut units = [0; 2];
                out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            } else {
                out.push(c);
            }
        }
    }
}

fn to_yaml(call: &mut Call, indent: usize, block: bool) -> Result<Value, Error> {
    let input = json(&call.value()?)?;
    let indent = call.next("indent")?.map_or(Ok(indent as i64), |indent| whole(&indent))?.clamp(2, 9) as usize;
    let sorted = call.keyword("sort_keys").is_none_or(|flag| flag.is_true());
    let flow = match call.keyword("default_flow_style") {
        None => block.then_some(false),
        Some(flag) => (!flag.is_none()).then(|| flag.is_true()),
    };
    let width = call.keyword("width").filter(|width| !width.is_none()).map(|width| whole(&width)).transpose()?;
    let width = width.map(|width| usize::try_from(width).unwrap_or(0));
    let mut flag = |name: &str| call.keyword(name).is_some_and(|flag| flag.is_true());
    let explicit = (flag("explicit_start"), flag("explicit_end"));
    let style = call.keyword("default_style").filter(|style| !style.is_none()).map(|style| text(&style));
    call.keyword("allow_unicode");
    let layout = yaml::Layout { indent, width, sorted, flow, explicit, style };
    let written = yaml::dump(&input, &layout).map_err(|error| wrong(format!("this cannot be YAML: {error}")))?;
    Ok(written.into())
}

fn url_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn url_split(call: &mut Call) -> Result<Value, Error> {
    let url = call.text()?;
    let query = call.next_text("query")?;
    let (rest, fragment) = url.split_once('#').unwrap_or((&url, ""));
    let (rest, query_text) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once(':').unwrap_or(("", rest));
    let (netloc, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let (login, address) = netloc.rsplit_once('@').unwrap_or(("", netloc));
    let (username, password) = login.split_once(':').unwrap_or((login, ""));
    let (hostname, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<i64>().ok()),
        _ => (address, None),
    };
    let hostname = hostname.trim_start_matches('[').trim_end_matches(']').to_lowercase();
    let optional = |text: &str| if text.is_empty() { Value::from(()) } else { Value::from(text) };
    let parts = Value::from_pairs([
        ("fragment", Value::from(fragment)),
        ("hostname", optional(&hostname)),
        ("netloc", netloc.into()),
        ("password", optional(password)),
        ("path", path.into()),
        ("port", port.map_or(Value::from(()), Value::from)),
        ("query", query_text.into()),
        ("scheme", scheme.to_lowercase().into()),
        ("username", optional(username)),
    ]);
    match query {
        None => Ok(parts),
        Some(name) => match parts.get_attr(&name)? {
            found if found.is_undefined() => Err(wrong(format!("urlsplit: unknown URL component: {name}"))),
            found => Ok(found),
        },
    }
}
