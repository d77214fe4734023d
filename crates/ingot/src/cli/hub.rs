//! The commands about models of the Hugging Face hub.

use clap::Args;

const PULL_EXAMPLES: &str = "\
Examples:
  ingot pull Qwen/Qwen2.5-0.5B-Instruct-GGUF
  ingot pull bartowski/Llama-3.2-1B-Instruct-GGUF:Q8_0
  ingot pull ORG/REPO/FILE.gguf
  ingot pull ORG/REPO@REVISION:safetensors
  ingot pull https://huggingface.co/ORG/REPO/blob/main/FILE.gguf
  ingot run -m hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF \"Hello\"

QUANT is a word in the name of a GGUF file, or safetensors. Without it the GGUF file
with Q4_K_M in its name is taken, else Q8_0, Q6_K, Q5_K_M, Q4_0, the only one there is,
or the safetensors files. The path of the model is printed.

After ctrl-C or a broken connection the same command goes on where it stopped. Files are
kept where other programs for the hub keep theirs, and shared with these.

HF_TOKEN or the token of `hf auth login` opens private and gated repositories. HF_HOME
and HF_HUB_CACHE say where the cache is, HF_ENDPOINT where the hub. HF_HUB_OFFLINE=1
forbids to ask it: what is in the cache is taken then. HTTPS_PROXY, HTTP_PROXY and NO_PROXY are obeyed.";

/// Bring a model from the Hugging Face hub.
#[derive(Args)]
#[command(after_help = PULL_EXAMPLES)]
pub struct PullArgs {
    /// ORG/REPO, ORG/REPO:QUANT, ORG/REPO/FILE.gguf, or the address of its page
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// List the models that are on this computer.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot list
  ingot list --json | jq -r '.models[].name'

Models of the cache that ingot shares with other programs for the Hugging Face hub, and
of folders called models. The first column is what other commands take as MODEL.")]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Remove models that were pulled.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot rm hf:ORG/REPO:Q8_0
  ingot rm hf:ORG/REPO --yes

Without QUANT or FILE everything of the repository is removed, unfinished downloads as
well. The cache is shared: other programs for the Hugging Face hub lose the files too.")]
pub struct RmArgs {
    /// Models as `ingot list` shows them
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Print JSON: what was removed
    #[arg(long)]
    pub json: bool,
}
