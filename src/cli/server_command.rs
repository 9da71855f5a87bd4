//! The commands that may call a server, by the groups of flags that each has.
#![allow(missing_docs, reason = "the groups are documented at their types")]

use std::path::PathBuf;

use clap::Args;

use super::{
    ActionArgs, Apply, BatchArgs, BusinessArgs, Check, DeleteArgs, GuardArgs, Import, InputArgs,
    MonitoringArgs, NamingArgs, OutputArgs, ParentArgs, Plan, PruneArgs, Rerun, ServerArgs,
    SettleArgs, ShardArgs, Sync, Undo, Verify,
};
use crate::report::summary::RunKind;

/// The groups of flags that a command has.
pub struct Groups<'a> {
    pub server: &'a ServerArgs,
    pub settling: Option<&'a SettleArgs>,
    pub monitoring: Option<&'a MonitoringArgs>,
    pub batching: Option<&'a BatchArgs>,
    pub business: Option<&'a BusinessArgs>,
    pub reading: Option<&'a InputArgs>,
    pub action: Option<&'a ActionArgs>,
    pub deletes: Option<&'a DeleteArgs>,
    pub naming: Option<&'a NamingArgs>,
    pub pruning: Option<&'a PruneArgs>,
    pub guards: Option<&'a GuardArgs>,
    /// Where results go, and as those of what they are named.
    pub output: Option<(RunKind, &'a OutputArgs)>,
    pub sharding: Option<&'a ShardArgs>,
    pub parent: Option<&'a ParentArgs>,
    /// What it reads.
    pub inputs: &'a [PathBuf],
    /// Whether it calls a server.
    pub calls_out: bool,
}

impl<'a> Groups<'a> {
    const fn new(server: &'a ServerArgs) -> Self {
        Self {
            server,
            settling: None,
            monitoring: None,
            batching: None,
            business: None,
            reading: None,
            action: None,
            deletes: None,
            naming: None,
            pruning: None,
            guards: None,
            output: None,
            sharding: None,
            parent: None,
            inputs: &[],
            calls_out: true,
        }
    }
}

/// A command that may call a server.
pub trait ServerCommand: Args {
    /// Its groups of flags.
    fn groups(&self) -> Groups<'_>;
}

impl ServerCommand for Import {
    fn groups(&self) -> Groups<'_> {
        let kind = if self.dry_run { RunKind::Check } else { RunKind::Import };
        Groups {
            settling: Some(&self.settling),
            monitoring: Some(&self.monitoring),
            batching: Some(&self.batching),
            business: Some(&self.business),
            reading: Some(&self.reading),
            action: Some(&self.action),
            deletes: Some(&self.deletes),
            naming: Some(&self.naming),
            output: Some((kind, &self.output)),
            sharding: Some(&self.sharding),
            inputs: &self.inputs,
            ..Groups::new(&self.server)
        }
    }
}

impl ServerCommand for Check {
    fn groups(&self) -> Groups<'_> {
        Groups {
            business: Some(&self.business),
            reading: Some(&self.reading),
            action: Some(&self.action),
            deletes: Some(&self.deletes),
            naming: Some(&self.naming),
            output: Some((RunKind::Check, &self.output)),
            inputs: &self.inputs,
            calls_out: !self.offline,
            ..Groups::new(&self.server)
        }
    }
}

impl ServerCommand for Rerun {
    fn groups(&self) -> Groups<'_> {
        Groups {
            settling: Some(&self.settling),
            monitoring: Some(&self.monitoring),
            batching: Some(&self.batching),
            business: Some(&self.business),
            deletes: Some(&self.deletes),
            naming: Some(&self.naming),
            output: Some((RunKind::Rerun, &self.output)),
            sharding: Some(&self.sharding),
            parent: Some(&self.parent),
            inputs: std::slice::from_ref(&self.results),
            ..Groups::new(&self.server)
        }
    }
}

impl ServerCommand for Plan {
    fn groups(&self) -> Groups<'_> {
        Groups {
            business: Some(&self.business),
            reading: Some(&self.reading),
            action: Some(&self.action),
            naming: Some(&self.naming),
            pruning: Some(&self.pruning),
            guards: Some(&self.guards),
            output: Some((RunKind::Plan, &self.output)),
            sharding: Some(&self.sharding),
            inputs: &self.inputs,
            ..Groups::new(&self.server)
        }
    }
}

impl ServerCommand for Sync {
    fn groups(&self) -> Groups<'_> {
        Groups {
            settling: Some(&self.settling),
            monitoring: Some(&self.monitoring),
            batching: Some(&self.batching),
            business: Some(&self.business),
            reading: Some(&self.reading),
            action: Some(&self.action),
            naming: Some(&self.naming),
            pruning: Some(&self.pruning),
            guards: Some(&self.guards),
            output: Some((RunKind::Sync, &self.output)),
            sharding: Some(&self.sharding),
            inputs: &self.inputs,
            ..Groups::new(&self.server)
        }
    }
}

impl ServerCommand for Apply {
    fn groups(&self) -> Groups<'_> {
        Groups {
            settling: Some(&self.settling),
            monitoring: Some(&self.monitoring),
            batching: Some(&self.batching),
            business: Some(&self.business),
            guards: Some(&self.guards),
            output: Some((RunKind::Apply, &self.output)),
            sharding: Some(&self.sharding),
            parent: Some(&self.parent),
            inputs: std::slice::from_ref(&self.plan),
            ..Groups::new(&self.server)
        }
    }
}

impl ServerCommand for Undo {
    fn groups(&self) -> Groups<'_> {
        Groups {
            settling: Some(&self.settling),
            monitoring: Some(&self.monitoring),
            output: Some((RunKind::Undo, &self.output)),
            parent: Some(&self.parent),
            inputs: std::slice::from_ref(&self.results),
            ..Groups::new(&self.server)
        }
    }
}

impl ServerCommand for Verify {
    fn groups(&self) -> Groups<'_> {
        Groups {
            reading: Some(&self.reading),
            parent: Some(&self.parent),
            calls_out: self.live,
            ..Groups::new(&self.server)
        }
    }
}
