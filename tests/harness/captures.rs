//! The requests that real Postfix servers sent, from `tests/captures`.

use std::path::PathBuf;

use serde_json::Value;

/// One captured request.
pub(crate) struct Capture {
    pub(crate) name: String,
    pub(crate) octets: Vec<u8>,
    /// Names and values in the order sent.
    pub(crate) attributes: Vec<(String, Vec<u8>)>,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

/// Every captured request, in the order of the file names.
pub(crate) fn requests() -> Vec<Capture> {
    let expected = std::fs::read(directory().join("EXPECTED.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let captures: Vec<Capture> = files("req")
        .into_iter()
        .map(|(name, octets)| {
            let attributes = attributes(&expected[&name]);
            Capture { name, octets, attributes }
        })
        .collect();
    assert_eq!(captures.len(), 89, "a captured request is missing");
    captures
}

/// The octets of every captured policy connection.
pub(crate) fn streams() -> Vec<(String, Vec<u8>)> {
    let streams = files("bin");
    assert_eq!(streams.len(), 5, "a captured stream is missing");
    streams
}

/// The single requests of a stream, each with the empty line that ends it.
pub(crate) fn split(stream: &[u8]) -> Vec<&[u8]> {
    let mut requests = Vec::new();
    let mut rest = stream;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\n\n") {
        let (request, behind) = rest.split_at(end + 2);
        requests.push(request);
        rest = behind;
    }
    assert!(rest.is_empty(), "the stream ends inside a request");
    requests
}

fn files(extension: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn attributes(expected: &Value) -> Vec<(String, Vec<u8>)> {
    let pairs = expected.as_array().expect("a capture without an entry in EXPECTED.json");
    pairs.iter().map(|pair| (pair[0].as_str().unwrap().to_owned(), octets(&pair[1]))).collect()
}

fn octets(value: &Value) -> Vec<u8> {
    if let Some(text) = value.as_str() {
        return text.as_bytes().to_vec();
    }
    let hex = value["hex"].as_str().unwrap();
    let digits: Vec<u8> =
        hex.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
