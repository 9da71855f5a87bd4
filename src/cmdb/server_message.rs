//! What the server, or the network on the way to it, said, for a person to read.
//!
//! Owns which of an answer's texts are shown, and how. Knows nothing of what an answer means.

use std::fmt;

use crate::cmdb::wire::Reply;

/// What a reply says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerMessage {
    /// The server's number.
    pub code: Option<i64>,
    /// Its text, or that of the transport.
    pub message: String,
    /// The call's id.
    pub request_id: Option<String>,
}

impl ServerMessage {
    /// The message of any reply: code and text where the body has them, else the HTTP status and the
    /// beginning of the body.
    pub fn of(reply: &Reply) -> Self {
        let answer = match reply {
            Reply::Answered(answer) => answer,
            Reply::NotSent(why)
            | Reply::Lost(why)
            | Reply::Oversized(why)
            | Reply::Unusable(why) => {
                return Self { message: why.clone(), ..Self::default() };
            }
        };
        let (code, message) = match &answer.envelope {
            Some(envelope) if envelope.code().is_some() || !envelope.message().is_empty() => {
                (envelope.code(), envelope.message().to_owned())
            }
            _ => (None, format!("HTTP {} {}", answer.status, answer.excerpt).trim_end().to_owned()),
        };
        Self { code, message, request_id: answer.request_id.clone() }
    }

    /// Whether another call was told the same.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        (self.code, &self.message) == (other.code, &other.message)
    }
}

/// In one line.
impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "code {code}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.request_id {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdb::wire::{Answer, Envelope};

    #[test]
    fn a_reply_is_told_by_the_best_that_it_says() {
        let answer = |body: &str, excerpt: &str| {
            Reply::Answered(Answer {
                status: 502,
                envelope: Envelope::parse(body.as_bytes()),
                excerpt: excerpt.to_owned(),
                request_id: Some("r1".to_owned()),
                ..Answer::default()
            })
        };
        for (reply, text) in [
            (answer(r#"{"code":7,"message":"no"}"#, ""), "code 7: no (request r1)"),
            (answer(r#"{"message":"no"}"#, ""), "no (request r1)"),
            (answer("", "<html>"), "HTTP 502 <html> (request r1)"),
            (Reply::Lost("reset".to_owned()), "reset"),
        ] {
            assert_eq!(ServerMessage::of(&reply).to_string(), text);
        }
    }
}
