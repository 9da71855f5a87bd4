//! `bkassoc sandbox`: a local CMDB to try things on.

use std::io::Write;
use std::time::Duration;

use tokio::net::TcpListener;

use super::warn;
use crate::cli::Sandbox as Args;
use crate::exit::{Exit, Halt};
use crate::options::Rate;
use crate::report::log;
use crate::report::progress::Screen;
use crate::sandbox::models::Models;
use crate::sandbox::{Quota, Sandbox, Setup, server};
use crate::session::runtime::runtime;
use crate::session::signals::Signals;
use crate::target::Entrance;

/// Serves until a signal comes.
pub(super) fn run(args: &Args, warnings: &[String], screen: &Screen) -> Result<Exit, Halt> {
    args.log.color.choose();
    log::start(args.log.log_format, args.log.quiet, args.log.verbose, screen.clone());
    warn(warnings);
    let setup = setup(args)?;
    let credentials = setup.models.credentials.clone();
    runtime()?.block_on(async {
        let sandbox =
            Sandbox::new(setup).map_err(|error| Halt::new(Exit::Unwritable, error.to_string()))?;
        let listener = TcpListener::bind(args.listen)
            .await
            .map_err(|error| Halt::usage(format!("can't listen on {}: {error}", args.listen)))?;
        let address = listener.local_addr().map_or(args.listen, |address| address);
        let entrance = args.entrance;
        if !args.log.quiet {
            say_hello(&format!("http://{address}"), entrance, &credentials);
        }
        let mut signals = Signals::listen()?;
        let stop = async move {
            signals.next().await;
        };
        server::serve(listener, sandbox, entrance, stop)
            .await
            .map_err(|error| Halt::new(Exit::Bug, error.to_string()))
    })?;
    Ok(Exit::Ok)
}

fn setup(args: &Args) -> Result<Setup, Halt> {
    let models = match &args.models {
        None => Models::sample(),
        Some(path) => {
            let named = |error: String| Halt::usage(format!("{}: {error}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
            Models::from_toml(&text).map_err(|error| named(error.to_string()))?
        }
    };
    let mut setup = Setup::new(models);
    setup.entrance = args.entrance;
    setup.version = args.cmdb_version;
    setup.old_esb = args.old_esb;
    setup.latency = args.latency;
    setup.quota = match args.quota {
        Rate::Unlimited => None,
        Rate::PerSecond(rate) if rate < 1.0 => Some(Quota {
            calls: (rate * 60.0).round().max(1.0) as u64,
            window: Duration::from_mins(1),
        }),
        Rate::PerSecond(rate) => {
            Some(Quota { calls: rate.round() as u64, window: Duration::from_secs(1) })
        }
    };
    setup.faults = args.fault.iter().copied().collect();
    setup.fault_seed = args.fault_seed;
    setup.data.clone_from(&args.data);
    Ok(setup)
}

/// The first line names the address, which a script may wait for; the others what to type.
fn say_hello(
    endpoint: &str,
    entrance: Entrance,
    credentials: &crate::sandbox::models::Credentials,
) {
    let app = &credentials.app_code;
    // The sandbox's own secret: it opens nothing but this sandbox.
    let secret = credentials.app_secret.expose();
    let how = match entrance {
        Entrance::Esb | Entrance::Gateway => format!(
            "BK_APP_SECRET={secret} bkassoc import FILE --endpoint {endpoint} --entrance {} --app-code {app} \
             --username admin",
            entrance.as_str()
        ),
        Entrance::Native => {
            format!("bkassoc import FILE --endpoint {endpoint} --entrance native --username admin")
        }
    };
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "listening on {endpoint}\ntry: {how}").and_then(|()| stdout.flush());
}
