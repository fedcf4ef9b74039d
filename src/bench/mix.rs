//! What is sent: the mix of operations, and frames made once whose numbers are overwritten.
//!
//! Invariant: making a request copies a template and patches xid and key; it never allocates once
//! the output buffer has its size.

use std::fmt;
use std::str::FromStr;

use crate::client::raw;
use crate::wire::client::{
    AclList, CreateRequest, Field, MultiHeader, PathVersion, PathWatch, SetDataRequest,
};
use crate::wire::codes::OpCode;
use crate::wire::jute::Write;

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// getData of a preloaded node.
    Get,
    /// setData of a preloaded node.
    Set,
    /// create of a persistent node with a name of its own.
    Create,
    /// delete of a node this session made; a create when there is none.
    Delete,
    /// exists of a preloaded node.
    Exists,
    /// getChildren2 of a node with ten children.
    Children,
    /// check and setData of a preloaded node.
    Multi,
}

impl Op {
    /// All, in the order of their numbers.
    pub(super) const ALL: [Self; 7] = [
        Self::Get,
        Self::Set,
        Self::Create,
        Self::Delete,
        Self::Exists,
        Self::Children,
        Self::Multi,
    ];

    /// As the command line and the report have it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Exists => "exists",
            Self::Children => "children",
            Self::Multi => "multi",
        }
    }
}

/// Weights of operations: `get:90,set:10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mix {
    /// Operation and the weights up to and with it.
    cumulated: Vec<(Op, u32)>,
    total: u32,
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix = Self { cumulated: Vec::new(), total: 0 };
        for part in text.split(',') {
            let (name, weight) = part.split_once(':').unwrap_or((part, "1"));
            let op = Op::ALL.into_iter().find(|op| op.name() == name).ok_or_else(|| {
                format!("`{name}` is none of {}", Op::ALL.map(Op::name).join(", "))
            })?;
            let weight: u32 = weight.parse().map_err(|_| format!("`{weight}` is no weight"))?;
            mix.total = mix.total.checked_add(weight).ok_or("the weights overflow")?;
            mix.cumulated.push((op, mix.total));
        }
        if mix.total == 0 { Err("all weights are 0".to_owned()) } else { Ok(mix) }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = 0;
        for (i, (op, upto)) in self.cumulated.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}", op.name(), upto - before)?;
            before = *upto;
        }
        Ok(())
    }
}

impl Mix {
    /// The operation of a random number.
    pub(super) fn pick(&self, random: u64) -> Op {
        let [(only, _)] = self.cumulated[..] else {
            let point = random % u64::from(self.total);
            let found = self.cumulated.iter().find(|(_, upto)| point < u64::from(*upto));
            return found.expect("the last weight is the total").0;
        };
        only
    }
}

/// A small generator of random numbers (xorshift64*): the load must be cheap, not secret.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// Equal seeds give equal loads.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub(super) fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform in (0, 1].
    pub(super) fn unit(&mut self) -> f64 {
        ((self.draw() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

const DIGITS: usize = 16;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Path of preloaded node `number`.
pub(super) fn key_path(prefix: &str, number: u64) -> String {
    format!("{prefix}/k{number:016x}")
}

/// Path of a node made under load.
pub(super) fn created_path(prefix: &str, number: u64) -> String {
    format!("{prefix}/c{number:016x}")
}

/// Path of the node that is listed.
pub(super) fn listed_path(prefix: &str) -> String {
    format!("{prefix}/listed")
}

#[derive(Clone, Debug)]
struct Template {
    bytes: Vec<u8>,
    /// Where the digits of the path stand, once a path.
    digits: Vec<usize>,
}

impl Template {
    fn new(fill: impl FnOnce(&mut Vec<u8>), path: &str) -> Self {
        let mut bytes = Vec::new();
        fill(&mut bytes);
        let path = path.as_bytes();
        let digits = (0..bytes.len().saturating_sub(path.len()) + 1)
            .filter(|at| bytes[*at..].starts_with(path))
            .map(|at| at + path.len() - DIGITS)
            .collect();
        Self { bytes, digits }
    }

    fn append(&self, out: &mut Vec<u8>, xid: i32, number: u64) {
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        out[at + 4..at + 8].copy_from_slice(&xid.to_be_bytes());
        for digits in &self.digits {
            let digits = &mut out[at + digits..at + digits + DIGITS];
            for (i, digit) in digits.iter_mut().rev().enumerate() {
                *digit = HEX[((number >> (4 * i)) & 15) as usize];
            }
        }
    }
}

/// The frames of all operations.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    templates: Vec<Template>,
    /// Frame of a ping.
    pub(super) ping: Vec<u8>,
}

impl Frames {
    /// Frames below `prefix` with `size_bytes` of data.
    pub(super) fn new(prefix: &str, size_bytes: usize) -> Self {
        let data = vec![b'x'; size_bytes];
        // No real number looks like this one, so that the digits are found in the frame.
        let (key, created) = (key_path(prefix, u64::MAX), created_path(prefix, u64::MAX));
        let listed = listed_path(prefix);
        let templates = Op::ALL
            .into_iter()
            .map(|op| match op {
                Op::Get => {
                    let body = PathWatch { path: Some(key.as_bytes()), watch: false };
                    Template::new(|out| raw::request(out, 0, OpCode::GetData, &body), &key)
                }
                Op::Set => {
                    let body = set_data(&key, &data);
                    Template::new(|out| raw::request(out, 0, OpCode::SetData, &body), &key)
                }
                Op::Create => {
                    let body = create(&created, &data);
                    Template::new(|out| raw::request(out, 0, OpCode::Create, &body), &created)
                }
                Op::Delete => {
                    let body = PathVersion { path: Some(created.as_bytes()), version: -1 };
                    Template::new(|out| raw::request(out, 0, OpCode::Delete, &body), &created)
                }
                Op::Exists => {
                    let body = PathWatch { path: Some(key.as_bytes()), watch: false };
                    Template::new(|out| raw::request(out, 0, OpCode::Exists, &body), &key)
                }
                Op::Children => {
                    let body = PathWatch { path: Some(listed.as_bytes()), watch: false };
                    let fill =
                        |out: &mut Vec<u8>| raw::request(out, 0, OpCode::GetChildren2, &body);
                    Template::new(fill, &key)
                }
                Op::Multi => Template::new(|out| multi(out, &key, &data), &key),
            })
            .collect();
        let mut ping = Vec::new();
        raw::bare(&mut ping, crate::wire::codes::xids::PING, OpCode::Ping);
        Self { templates, ping }
    }

    /// Appends a request for node `number`.
    pub(super) fn append(&self, op: Op, out: &mut Vec<u8>, xid: i32, number: u64) {
        self.templates[op as usize].append(out, xid, number);
    }
}

/// Body of a create with `data`, open to all.
pub(super) fn create<'a>(path: &'a str, data: &'a [u8]) -> CreateRequest<'a> {
    CreateRequest { path: Some(path.as_bytes()), data: Some(data), acl: AclList::OPEN, flags: 0 }
}

/// Body of a set of any version.
pub(super) fn set_data<'a>(path: &'a str, data: &'a [u8]) -> SetDataRequest<'a> {
    SetDataRequest { path: Some(path.as_bytes()), data: Some(data), version: -1 }
}

fn multi(out: &mut Vec<u8>, key: &str, data: &[u8]) {
    raw::frame(out, |out| {
        out.put_int(0);
        out.put_int(OpCode::Multi.to_wire());
        MultiHeader { kind: OpCode::Check.to_wire(), done: false, err: -1 }.encode(out);
        PathVersion { path: Some(key.as_bytes()), version: -1 }.encode(out);
        MultiHeader { kind: OpCode::SetData.to_wire(), done: false, err: -1 }.encode(out);
        set_data(key, data).encode(out);
        MultiHeader { kind: -1, done: true, err: -1 }.encode(out);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::client::decode;

    #[test]
    fn a_mix_keeps_its_weights() {
        let mix: Mix = "get:90,set:10".parse().unwrap();
        let sets = (0..1000).filter(|n| mix.pick(*n) == Op::Set).count();
        assert_eq!((sets, mix.to_string()), (100, "get:90,set:10".to_owned()));
        assert!("".parse::<Mix>().is_err() && "get:0".parse::<Mix>().is_err());
        assert_eq!("multi".parse::<Mix>().unwrap().pick(7), Op::Multi);
    }

    #[test]
    fn patched_frames_decode_to_what_was_asked() {
        let frames = Frames::new("/b", 3);
        let mut out = vec![9];
        frames.append(Op::Set, &mut out, 77, 0x1234);
        assert_eq!(out[5..9], 77i32.to_be_bytes());
        let body = decode::<SetDataRequest<'_>>(&out[13..]).unwrap();
        assert_eq!(body, set_data("/b/k0000000000001234", b"xxx"));
        out.clear();
        frames.append(Op::Multi, &mut out, 1, 0xabc);
        let hits = out.windows(20).filter(|bytes| *bytes == b"/b/k0000000000000abc").count();
        assert_eq!(hits, 2);
    }
}
