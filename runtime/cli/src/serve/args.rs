//! The flags of `serve`.

use std::net::IpAddr;

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, RangedU64ValueParser};

const EXAMPLES: &str = "\x1b[1;4mExamples:\x1b[0m
  Serve a model with its options on this machine, and look at http://127.0.0.1:8080:
    ollm-run serve -m model.gguf --plugin plugin.gguf
  Ask it:
    curl http://127.0.0.1:8080/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}'
  Serve to other machines, to who has the key:
    ollm-run serve -m model.gguf --host 0.0.0.0 --api-key \"$KEY\"";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// The address to listen at; one that other machines reach needs --api-key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", help_heading = "Server")]
    pub(crate) host: IpAddr,
    /// The port; 0 takes a free one, which is printed
    #[arg(long, value_name = "N", default_value_t = 8080, help_heading = "Server")]
    pub(crate) port: u16,
    /// The key that requests have to show, as `Authorization: Bearer KEY`
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new(), help_heading = "Server")]
    pub(crate) api_key: Option<String>,
    /// The origin of web pages that may ask, such as <https://example.org>
    #[arg(long, value_name = "ORIGIN", value_parser = NonEmptyStringValueParser::new(), help_heading = "Server")]
    pub(crate) cors: Option<String>,
    /// The name of the model [default: that of its file]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), help_heading = "Server")]
    pub(crate) alias: Option<String>,
    /// Sequences that are generated in one batch at most; a request of more has a batch of its own
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Server")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(crate) parallel: usize,
    /// Requests that wait at most; the next one is told to try again later (429)
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Server")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=65536))]
    pub(crate) queue: usize,
    /// Earlier texts that are kept, for requests that begin like them; 0 keeps none
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Server")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(0..=4096))]
    pub(crate) prefixes: usize,
    /// Seconds that a client may take to send a request, or take nothing of its answer
    #[arg(long, value_name = "S", default_value_t = 30, help_heading = "Server")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,
}
