//! The command line: everything is in the library.

/// A row costs some forty small allocations, most of them the HTTP client's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    bkassoc::commands::main(std::env::args_os())
}
