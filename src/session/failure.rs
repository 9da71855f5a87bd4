//! With which exit code each error ends a command.

use crate::cmdb::http::ClientError;
use crate::config::ConfigError;
use crate::engine::row_queue::RowQueueError;
use crate::exit::{Exit, Halt};
use crate::input::InputError;
use crate::storage::journal::JournalError;
use crate::storage::manifest::ManifestError;
use crate::storage::path_state::ClearError;
use crate::storage::plan::PlanError;
use crate::storage::results::ResultsError;

macro_rules! failures {
    ($($error:ty => |$it:ident| $exit:expr;)*) => {
        $(impl From<$error> for Halt {
            fn from($it: $error) -> Self {
                Self::new($exit, $it.to_string())
            }
        })*
    };
}

failures! {
    ConfigError => |_error| Exit::Usage;
    ManifestError => |error| match error {
        ManifestError::OtherRows { .. } => Exit::Input,
        ManifestError::Unreadable { .. } | ManifestError::Foreign { .. } => Exit::Usage,
    };
    InputError => |error| if error.is_usage() { Exit::Usage } else { Exit::Input };
    ClearError => |error| match error {
        ClearError::Held(_) => Exit::Held,
        ClearError::Refused { .. } => Exit::Unwritable,
    };
    JournalError => |error| match &error {
        JournalError::Held { .. } => Exit::Held,
        JournalError::NotBegun(halt) => halt.exit,
        JournalError::Unwritable { .. }
        | JournalError::Unreadable { .. }
        | JournalError::Unseen(_)
        | JournalError::Damaged { .. } => Exit::Unwritable,
        JournalError::Foreign { .. } => Exit::Usage,
    };
    ResultsError => |error| match &error {
        ResultsError::Unwritable { .. } | ResultsError::Journal(_) => Exit::Unwritable,
        ResultsError::NotConserved { .. } => Exit::Bug,
        ResultsError::Unreadable { .. } => Exit::Input,
    };
    PlanError => |error| match &error {
        PlanError::Held { .. } => Exit::Held,
        PlanError::Unwritable { .. } => Exit::Unwritable,
        PlanError::Unreadable { .. } | PlanError::Changed { .. } => Exit::Input,
        PlanError::NoPlan { .. } => Exit::Usage,
    };
    RowQueueError => |error| error.exit();
    ClientError => |_error| Exit::Target;
}
