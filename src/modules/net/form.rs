//! The body of a request in the formats of forms.

use base64::Engine as _;
use serde_json::{Map, Value};

use crate::host::View;
use crate::modules::ModuleError;
use crate::web::percent_encode;

/// Returns a mapping or a list of pairs as `application/x-www-form-urlencoded` has it; text as it is.
pub fn url_encoded(body: &Value) -> Result<String, ModuleError> {
    let pairs: Vec<(String, Value)> = match body {
        Value::String(text) => return Ok(text.clone()),
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| match item.as_array().map(Vec::as_slice) {
                Some([name, value]) => Ok((text(name), value.clone())),
                _ => Err(ModuleError::failed(format!("failed to parse body as form_urlencoded: `{item}` is no pair"))),
            })
            .collect::<Result<_, _>>()?,
        other => return Err(ModuleError::failed(format!("failed to parse body as form_urlencoded: `{other}`"))),
    };
    let mut parts = Vec::new();
    for (name, value) in pairs {
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        parts.extend(values.iter().map(|value| format!("{}={}", escaped(&name), escaped(&text(value)))));
    }
    Ok(parts.join("&"))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Null => "None".into(),
        other => other.to_string(),
    }
}

/// Escapes as Python's `quote_plus` does.
fn escaped(text: &str) -> String {
    percent_encode(text, " ").replace(' ', "+")
}

/// Returns a body of parts and its content type: each field a text, or a mapping with `content` or `filename`, the file of the
/// controller that it comes from. Files are in base64, unless `multipart_encoding` says otherwise.
pub fn multipart(host: &View, body: &Map<String, Value>) -> Result<(Vec<u8>, String), ModuleError> {
    let mut parts = Vec::new();
    for (name, value) in body {
        let name = quoted(name);
        let Some(field) = value.as_object() else {
            parts.push((format!("Content-Disposition: form-data; name=\"{name}\"\r\n"), text(value).into_bytes()));
            continue;
        };
        let get = |key: &str| field.get(key).and_then(Value::as_str);
        let mut content = get("content").map(|content| content.as_bytes().to_vec());
        let mut head = format!("Content-Disposition: form-data; name=\"{name}\"");
        let mut kind = get("mime_type").map(String::from);
        if let Some(file) = get("filename") {
            head += &format!("; filename=\"{}\"", quoted(file.rsplit('/').next().unwrap_or(file)));
            if content.is_none() {
                let path = host.controller().find("files", file)?;
                let bytes = crate::provenance::content(&path)
                    .map_err(|error| ModuleError::failed(format!("cannot read `{}`: {error}", path.display())))?;
                let encoding = get("multipart_encoding").unwrap_or("base64");
                content = Some(match encoding {
                    "base64" => {
                        head += "\r\nContent-Transfer-Encoding: base64";
                        lines(&bytes).into_bytes()
                    }
                    "7or8bit" => bytes,
                    other => return Err(ModuleError::failed(format!("`multipart_encoding` cannot be `{other}`"))),
                });
            }
            kind = kind.or_else(|| Some("application/octet-stream".into()));
        }
        let Some(content) = content else {
            return Err(ModuleError::failed(format!(
                "the field `{name}` of the body has neither `content` nor `filename`"
            )));
        };
        if let Some(kind) = kind {
            head += &format!("\r\nContent-Type: {}", kind.replace(['\r', '\n'], ""));
        }
        parts.push((head + "\r\n", content));
    }
    let boundary = boundary(&parts);
    let mut bytes = Vec::new();
    for (head, content) in parts {
        bytes.extend_from_slice(format!("--{boundary}\r\n{head}\r\n").as_bytes());
        bytes.extend_from_slice(&content);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((bytes, format!("multipart/form-data; boundary={boundary}")))
}

/// Returns base64 in the lines of RFC 2045, 6.8.
fn lines(bytes: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let lines: Vec<String> =
        text.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    lines.join("\r\n")
}

/// Returns what stands in no part. The same parts have the same, so that a check and the run show the same.
fn boundary(parts: &[(String, Vec<u8>)]) -> String {
    let all: Vec<u8> =
        parts.iter().flat_map(|(head, content)| [head.as_bytes(), content.as_slice()].concat()).collect();
    format!("cutover-{}", &crate::transport::Digest::of(&all).0[..32])
}

fn quoted(text: &str) -> String {
    text.replace(['\r', '\n'], "").replace('"', "%22")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms_are_encoded_as_pythons_are() {
        let body = json!({"name": "a b&c", "list": [1, true], "é": "~"});
        assert_eq!(url_encoded(&body).unwrap(), "name=a+b%26c&list=1&list=True&%C3%A9=~");
        assert_eq!(url_encoded(&json!([["a", "1"], ["a", "2"]])).unwrap(), "a=1&a=2");
        assert!(url_encoded(&json!(["a"])).is_err());
    }
}
