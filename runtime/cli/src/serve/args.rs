//! The flags of `serve`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, RangedU64ValueParser};

use super::guard::Cors;
use crate::chat_input::TemplateArgs;
use crate::failure::{Failure, Result};

const EXAMPLES: &str = "\x1b[1;4mExamples:\x1b[0m
  Serve a model with its options on this machine, and look at http://127.0.0.1:8080:
    ollm-run serve -m model.gguf --plugin plugin.gguf
  Ask it:
    curl http://127.0.0.1:8080/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}'
  Serve to other machines, to who has the key:
    OLLM_API_KEY=\"$KEY\" ollm-run serve -m model.gguf --host 0.0.0.0";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// The address to listen at; one that other machines reach needs --api-key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", help_heading = "Server")]
    #[arg(value_parser = address)]
    pub(crate) host: IpAddr,
    /// The port; 0 takes a free one, which is printed
    #[arg(long, value_name = "N", default_value_t = 8080, help_heading = "Server")]
    pub(crate) port: u16,
    /// The key that requests have to show, as `Authorization: Bearer KEY`. Who is on this machine
    /// sees it here, but not in the environment variable `OLLM_API_KEY`, or in a file [default:
    /// `OLLM_API_KEY`]
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new(), help_heading = "Server")]
    pub(crate) api_key: Option<String>,
    /// A file with the key
    #[arg(long, value_name = "FILE", conflicts_with = "api_key", help_heading = "Server")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// The origin of web pages that may ask, such as <https://example.org>; * for all
    #[arg(long, value_name = "ORIGIN", help_heading = "Server")]
    pub(crate) cors: Option<Cors>,
    /// The name of the model [default: that of its file]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), help_heading = "Server")]
    pub(crate) alias: Option<String>,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// Sequences that are generated in one batch at most; a request of more has a batch of its own
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Server")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(crate) parallel: usize,
    /// Memory of KV caches at most, in MB, for all requests and all that is kept; what does not fit
    /// waits [default: half of what the machine has left]
    #[arg(long, value_name = "MB", help_heading = "Server")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 40))]
    pub(crate) kv_memory: Option<usize>,
    /// Requests that wait at most; the next one is told to try again later (429)
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Server")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=65536))]
    pub(crate) queue: usize,
    /// Earlier texts that are kept, for requests that begin like them; 0 keeps none
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Server")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(0..=4096))]
    pub(crate) prefixes: usize,
    /// Seconds that a client may take to send a request, or to take what is ready of its answer,
    /// and that a grammar may take to be compiled
    #[arg(long, value_name = "S", default_value_t = 30, help_heading = "Server")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,
}

impl ServeArgs {
    /// The key, from wherever it is given.
    pub(crate) fn key(&self) -> Result<Option<String>> {
        let Some(key) = self.given_key()? else { return Ok(None) };
        if key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Some(key));
        }
        let message =
            "the API key can stand in no header: it may have letters, digits and signs of ASCII, and no spaces";
        Err(Failure::Usage(message.to_owned()))
    }

    fn given_key(&self) -> Result<Option<String>> {
        let Some(path) = &self.api_key_file else {
            let variable = || std::env::var("OLLM_API_KEY").ok().filter(|key| !key.is_empty());
            return Ok(self.api_key.clone().or_else(variable));
        };
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| ollm_runtime::Error::Io { path: path.clone(), source })?;
        match text.trim() {
            "" => Err(Failure::Usage(format!("--api-key-file {}: there is no key in it", path.display()))),
            key => Ok(Some(key.to_owned())),
        }
    }
}

/// An address to listen at; a name is none, but for that of this machine.
fn address(text: &str) -> std::result::Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.parse().map_err(|_| "it must be an IP address, or localhost".to_owned())
}
