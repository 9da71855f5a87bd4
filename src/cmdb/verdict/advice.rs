//! What a person has to change when a run can't go on.

use super::Stop;
use super::texts::known_text;
use crate::cmdb::wire::{Reply, code};
use crate::target::Entrance;

impl Stop {
    /// One sentence that says what to change, naming flags and variables. It does not repeat the
    /// server's message.
    pub fn advice(self, reply: &Reply, entrance: Entrance) -> &'static str {
        if let Some(advice) = advice_of_answer(reply) {
            return advice;
        }
        match self {
            Self::Credentials => match entrance {
                Entrance::Esb | Entrance::Gateway => {
                    "check --app-code (or BK_APP_CODE), --app-secret-file (or BK_APP_SECRET) and \
                     --username or --token-file (or BK_TOKEN)"
                }
                Entrance::Native => {
                    "CMDB's apiserver asks for no credentials: something in front of it does; check \
                     --endpoint and --entrance"
                }
            },
            Self::ApiForbidden => match entrance {
                Entrance::Esb => {
                    "this app may not call this API: have the ESB's administrator grant it to \
                     --app-code"
                }
                Entrance::Gateway => {
                    "this app may not call this API from here: apply for the gateway's resource \
                     with --app-code, or have this address allowed"
                }
                Entrance::Native => {
                    "something in front of CMDB's apiserver refuses the call: check --endpoint and \
                     --proxy"
                }
            },
            Self::WrongAddress => match entrance {
                Entrance::Esb => {
                    "no ESB answers at this address: check --endpoint (the base URL before \
                     /api/c/compapi), --entrance and --proxy"
                }
                Entrance::Gateway => {
                    "no API gateway answers at this address: check --endpoint (the URL up to and \
                     with the stage, before /api/v3), --entrance and --proxy"
                }
                Entrance::Native => {
                    "no CMDB apiserver answers at this address: check --endpoint (the base URL \
                     before /api/v3), --entrance and --proxy"
                }
            },
            Self::Certificate => {
                "check the scheme and the name in --endpoint; where it is the certificate that can't be \
                 trusted, give its authority with --ca-cert or, for tests only, use --insecure"
            }
            Self::Setup => match entrance {
                Entrance::Esb => {
                    "the ESB is not set up for this call: its administrator has to look at the \
                     component (channel, path, backend), or use --entrance gateway or native"
                }
                Entrance::Gateway => {
                    "the gateway or the CMDB behind it is not set up for this call: its \
                     administrator has to look at the resource; check --endpoint"
                }
                Entrance::Native => {
                    "this CMDB does not take the call as it is: give --username and \
                     --supplier-account"
                }
            },
            Self::NoDelete => match entrance {
                Entrance::Esb => {
                    "this ESB has no call that deletes, or sends it to a path that only a CMDB before 3.10 \
                     has"
                }
                Entrance::Gateway => {
                    "this gateway has no resource that deletes, or none for this CMDB"
                }
                Entrance::Native => {
                    "this CMDB has no such call: a delete by model and id needs CMDB 3.10 or newer"
                }
            },
        }
    }
}

/// What to change, where the server's number or text is known to say it.
fn advice_of_answer(reply: &Reply) -> Option<&'static str> {
    let envelope = reply.envelope()?;
    if envelope.code() == Some(code::INVALID_TENANT) {
        return Some(
            "this CMDB has tenants, and not this one, or the app does not belong to it: give \
             --tenant-id as its administrator says",
        );
    }
    let text = known_text(envelope.code()?, envelope.message())?;
    (!text.advice.is_empty()).then_some(text.advice)
}
