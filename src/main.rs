//! The command line: everything is in the library.

fn main() -> std::process::ExitCode {
    bkassoc::commands::main(std::env::args_os())
}
