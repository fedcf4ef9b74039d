//! What can go wrong for a caller of the library.

use std::fmt;

use crate::wire::codes::ErrorCode;
use crate::wire::jute::DecodeError;

/// Outcome of a request or of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The server refused it.
    Code(ErrorCode),
    /// As before, with a number this library does not know.
    UnknownCode(i32),
    /// A multi was refused because of one row; nothing of it happened.
    Multi {
        /// The row, from 0.
        row: usize,
        /// Why.
        cause: ErrorCode,
    },
    /// This row of a multi would have gone well; another one was refused.
    RolledBack,
    /// The connection broke, or no server answered: whether a request that had been sent took
    /// effect is not known. The session may live on, and so does the client.
    ConnectionLoss,
    /// The servers ended the session. Final: its ephemerals and watches are gone.
    SessionExpired,
    /// The servers refused the credentials. Final.
    AuthFailed,
    /// [`close`](super::Client::close) was called. Final.
    Closed,
    /// The reply is not what the request asks for. The connection is given up.
    Decode(DecodeError),
    /// The request cannot be sent as it is.
    Invalid(&'static str),
    /// The connect string means nothing.
    ConnectString(String),
    /// The machine refused a thread or a descriptor.
    System(String),
}

impl Error {
    /// From a header's `err`, which is not 0.
    pub fn from_wire(code: i32) -> Self {
        match ErrorCode::from_wire(code) {
            None => Self::UnknownCode(code),
            Some(ErrorCode::SessionExpired) => Self::SessionExpired,
            Some(ErrorCode::AuthFailed) => Self::AuthFailed,
            Some(code) => Self::Code(code),
        }
    }

    /// Whether the client is of no further use.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::SessionExpired | Self::AuthFailed | Self::Closed)
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code:?}"),
            Self::UnknownCode(code) => write!(f, "error {code}"),
            Self::Multi { row, cause } => write!(f, "row {row} of the multi: {cause:?}"),
            Self::RolledBack => write!(f, "another row of the multi was refused"),
            Self::ConnectionLoss => write!(f, "ConnectionLoss"),
            Self::SessionExpired => write!(f, "SessionExpired"),
            Self::AuthFailed => write!(f, "AuthFailed"),
            Self::Closed => write!(f, "the session is closed"),
            Self::Decode(error) => write!(f, "a reply does not decode: {error}"),
            Self::Invalid(why) => write!(f, "{why}"),
            Self::ConnectString(text) => write!(f, "`{text}` names no server"),
            Self::System(text) => write!(f, "{text}"),
        }
    }
}

impl std::error::Error for Error {}
