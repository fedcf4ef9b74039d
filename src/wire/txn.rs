//! Txns: the same bytes in the log and in a PROPOSAL (storage-format.md, section 4).

use super::client::{AclList, Field, record};
use super::codes::OpCode;
use super::jute::{DecodeError, Reader, Write};
use crate::types::{Millis, SessionId, Zxid};

/// Stands before every txn, 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnHeader {
    /// Session that asked (ZooKeeper: `clientId`).
    pub session: SessionId,
    /// Its xid.
    pub cxid: i32,
    /// Place in the total order.
    pub zxid: Zxid,
    /// Leader's wall clock when it was prepared, ms.
    pub time_ms: Millis,
}

record! {
    /// Record of create and create2.
    CreateTxn<'a> {
        /// Final path, counter included.
        path: &'a [u8],
        /// Null and empty differ.
        data: Option<&'a [u8]>,
        /// Resolved list.
        acl: AclList<'a>,
        /// Owned by the session of the header.
        ephemeral: bool,
        /// The parent's new cversion (creates ever); -1 in very old logs: old + 1.
        parent_cversion: i32,
    }
}

record! {
    /// Record of createContainer.
    CreateContainerTxn<'a> {
        /// Final path.
        path: &'a [u8],
        /// Null and empty differ.
        data: Option<&'a [u8]>,
        /// Resolved list.
        acl: AclList<'a>,
        /// The parent's new cversion.
        parent_cversion: i32,
    }
}

record! {
    /// Record of createTTL.
    CreateTtlTxn<'a> {
        /// Final path.
        path: &'a [u8],
        /// Null and empty differ.
        data: Option<&'a [u8]>,
        /// Resolved list.
        acl: AclList<'a>,
        /// The parent's new cversion.
        parent_cversion: i32,
        /// Time to live in ms.
        ttl_ms: i64,
    }
}

record! {
    /// Record of setData and reconfig.
    SetDataTxn<'a> {
        /// The node.
        path: &'a [u8],
        /// New data.
        data: Option<&'a [u8]>,
        /// New version.
        version: i32,
    }
}

record! {
    /// Record of setACL.
    SetAclTxn<'a> {
        /// The node.
        path: &'a [u8],
        /// Resolved list.
        acl: AclList<'a>,
        /// New aversion.
        version: i32,
    }
}

record! {
    /// Record of check, in multi only; the version is the checked one + 1.
    CheckTxn<'a> {
        /// The node.
        path: &'a [u8],
        /// Ignored on apply.
        version: i32,
    }
}

/// A txn's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Txn<'a> {
    /// Type 1.
    Create(CreateTxn<'a>),
    /// Type 15, same record.
    Create2(CreateTxn<'a>),
    /// Type 19.
    CreateContainer(CreateContainerTxn<'a>),
    /// Type 21.
    CreateTtl(CreateTtlTxn<'a>),
    /// Type 2.
    Delete(&'a [u8]),
    /// Type 20.
    DeleteContainer(&'a [u8]),
    /// Type 5.
    SetData(SetDataTxn<'a>),
    /// Type 16.
    Reconfig(SetDataTxn<'a>),
    /// Type 7.
    SetAcl(SetAclTxn<'a>),
    /// Type 13, in multi only.
    Check(CheckTxn<'a>),
    /// Type 14. Never nested.
    Multi(Vec<Txn<'a>>),
    /// Type -10; the id is the header's session. Timeout in ms.
    CreateSession(i32),
    /// Type -11; `None` when an old writer listed no paths.
    CloseSession(Option<Vec<&'a [u8]>>),
    /// Type -1.
    Error(i32),
}

impl<'a> Txn<'a> {
    /// The type that stands in the header.
    pub fn kind(&self) -> OpCode {
        match self {
            Self::Create(_) => OpCode::Create,
            Self::Create2(_) => OpCode::Create2,
            Self::CreateContainer(_) => OpCode::CreateContainer,
            Self::CreateTtl(_) => OpCode::CreateTtl,
            Self::Delete(_) => OpCode::Delete,
            Self::DeleteContainer(_) => OpCode::DeleteContainer,
            Self::SetData(_) => OpCode::SetData,
            Self::Reconfig(_) => OpCode::Reconfig,
            Self::SetAcl(_) => OpCode::SetAcl,
            Self::Check(_) => OpCode::Check,
            Self::Multi(_) => OpCode::Multi,
            Self::CreateSession(_) => OpCode::CreateSession,
            Self::CloseSession(_) => OpCode::CloseSession,
            Self::Error(_) => OpCode::Error,
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all other codes are no txns")]
    fn decode_record(
        kind: i32,
        in_multi: bool,
        reader: &mut Reader<'a>,
    ) -> Result<Self, DecodeError> {
        let code = OpCode::from_wire(kind).ok_or(DecodeError::Kind(kind))?;
        Ok(match code {
            OpCode::Create => Self::Create(decode_create(reader)?),
            OpCode::Create2 => Self::Create2(decode_create(reader)?),
            OpCode::CreateContainer => Self::CreateContainer(Field::decode(reader)?),
            OpCode::CreateTtl => Self::CreateTtl(Field::decode(reader)?),
            OpCode::Delete => Self::Delete(reader.some()?),
            OpCode::DeleteContainer => Self::DeleteContainer(reader.some()?),
            OpCode::SetData => Self::SetData(Field::decode(reader)?),
            OpCode::Reconfig => Self::Reconfig(Field::decode(reader)?),
            OpCode::SetAcl => Self::SetAcl(Field::decode(reader)?),
            OpCode::Check if in_multi => Self::Check(Field::decode(reader)?),
            OpCode::Multi if !in_multi => {
                let count = reader.count(8)?.unwrap_or(0);
                let mut txns = Vec::with_capacity(count);
                for _ in 0..count {
                    let kind = reader.int()?;
                    let mut record = Reader::new(reader.some()?);
                    txns.push(Self::decode_record(kind, true, &mut record)?);
                }
                Self::Multi(txns)
            }
            OpCode::CreateSession if !in_multi => Self::CreateSession(reader.int()?),
            OpCode::CloseSession if !in_multi => Self::CloseSession(if reader.rest().is_empty() {
                None
            } else {
                Some(Field::decode(reader)?)
            }),
            OpCode::Error => Self::Error(reader.int()?),
            _ => return Err(DecodeError::Kind(kind)),
        })
    }

    /// Appends the record, without its type.
    pub fn encode_record(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create(txn) | Self::Create2(txn) => txn.encode(out),
            Self::CreateContainer(txn) => txn.encode(out),
            Self::CreateTtl(txn) => txn.encode(out),
            Self::Delete(path) | Self::DeleteContainer(path) => out.put_some(path),
            Self::SetData(txn) | Self::Reconfig(txn) => txn.encode(out),
            Self::SetAcl(txn) => txn.encode(out),
            Self::Check(txn) => txn.encode(out),
            Self::Multi(txns) => {
                out.put_len(txns.len());
                for txn in txns {
                    out.put_int(txn.kind().to_wire());
                    let at = out.len();
                    out.put_int(0);
                    txn.encode_record(out);
                    let len =
                        i32::try_from(out.len() - at - 4).expect("bounded by the frame limit");
                    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
                }
            }
            Self::CreateSession(timeout_ms) => out.put_int(*timeout_ms),
            Self::CloseSession(paths) => {
                if let Some(paths) = paths {
                    paths.encode(out);
                }
            }
            Self::Error(code) => out.put_int(*code),
        }
    }
}

/// A create record may end after `ephemeral`: the format before 3.3 had no parentCVersion.
fn decode_create<'a>(reader: &mut Reader<'a>) -> Result<CreateTxn<'a>, DecodeError> {
    let (path, data) = (reader.some()?, reader.buffer()?);
    let (acl, ephemeral) = (Field::decode(reader)?, reader.bool()?);
    let parent_cversion = if reader.rest().is_empty() { -1 } else { reader.int()? };
    Ok(CreateTxn { path, data, acl, ephemeral, parent_cversion })
}

/// A whole log payload: header, record, digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnEntry<'a> {
    /// Who, when, which place.
    pub header: TxnHeader,
    /// What.
    pub txn: Txn<'a>,
    /// Tree digest after it, when the writer kept one (digest version 2).
    pub digest: Option<u64>,
}

/// Version of the digest algorithm we write and compare.
pub const DIGEST_VERSION: i32 = 2;

impl<'a> TxnEntry<'a> {
    /// Decodes a payload. A digest of another version than [`DIGEST_VERSION`] is dropped.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let session = SessionId(reader.long()?);
        let cxid = reader.int()?;
        let zxid = Zxid::from_wire(reader.long()?);
        let time_ms = reader.long()?;
        let kind = reader.int()?;
        let txn = Txn::decode_record(kind, false, &mut reader)?;
        let digest = if reader.rest().len() >= 12 {
            let version = reader.int()?;
            let value = reader.long()?.cast_unsigned();
            (version == DIGEST_VERSION).then_some(value)
        } else {
            None
        };
        Ok(Self { header: TxnHeader { session, cxid, zxid, time_ms }, txn, digest })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.header.encode(self.txn.kind(), out);
        self.txn.encode_record(out);
        encode_digest(self.digest, out);
    }
}

impl TxnHeader {
    /// Appends the header of a txn of type `kind`.
    pub fn encode(&self, kind: OpCode, out: &mut Vec<u8>) {
        out.put_long(self.session.0);
        out.put_int(self.cxid);
        out.put_long(self.zxid.to_wire());
        out.put_long(self.time_ms);
        out.put_int(kind.to_wire());
    }
}

/// Appends the digest behind a record.
pub fn encode_digest(digest: Option<u64>, out: &mut Vec<u8>) {
    if let Some(digest) = digest {
        out.put_int(DIGEST_VERSION);
        out.put_long(digest.cast_signed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Any payload decodes or fails; what decodes encodes back to the same bytes, up to what
        /// readers pass over: bytes behind the digest, booleans other than 0 and 1, a digest of
        /// another version, the field that records before 3.3 lack.
        #[test]
        fn any_payload_is_a_txn_or_an_error(
            kind in prop_oneof![Just(1), Just(2), Just(5), Just(7), Just(14), Just(15), Just(16),
                Just(19), Just(20), Just(21), Just(-1), Just(-10), Just(-11), any::<i32>()],
            header in prop::collection::vec(any::<u8>(), 28),
            record in prop::collection::vec(prop_oneof![Just(0_u8), Just(0), Just(1), Just(2), any::<u8>()], 0..96),
        ) {
            let payload = [&header[..], &kind.to_be_bytes(), &record].concat();
            if let Ok(entry) = TxnEntry::decode(&payload) {
                let mut bytes = Vec::new();
                entry.encode(&mut bytes);
                prop_assert_eq!(TxnEntry::decode(&bytes), Ok(entry));
            }
        }

        #[test]
        fn any_bytes_are_a_request_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            use crate::wire::client::*;
            fn round<'a, T: Field<'a> + std::fmt::Debug + PartialEq>(bytes: &'a [u8]) -> bool {
                let Ok(record) = decode::<T>(bytes) else { return true };
                let mut again = Vec::new();
                record.encode(&mut again);
                // Booleans other than 0 and 1 come back as 1.
                again.len() <= bytes.len()
            }
            prop_assert!(round::<ConnectRequest<'_>>(&bytes));
            prop_assert!(round::<CreateRequest<'_>>(&bytes));
            prop_assert!(round::<CreateTtlRequest<'_>>(&bytes));
            prop_assert!(round::<SetDataRequest<'_>>(&bytes));
            prop_assert!(round::<SetAclRequest<'_>>(&bytes));
            prop_assert!(round::<PathWatch<'_>>(&bytes));
            prop_assert!(round::<AuthPacket<'_>>(&bytes));
            prop_assert!(round::<SetWatches2<'_>>(&bytes));
            prop_assert!(round::<ReconfigRequest<'_>>(&bytes));
            prop_assert!(round::<Stat>(&bytes));
        }
    }
}
