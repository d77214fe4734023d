//! The commands that make model files.

use clap::{Args, ValueHint};
use ingot_convert::Mix;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Make a smaller GGUF file of a model.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot quantize model-f16.gguf q4_k_m -o model-q4_k_m.gguf
  ingot quantize path/to/huggingface-folder q8_0 -o model.gguf
  ingot quantize model-f16.gguf q4_k_m --dry-run
  ingot quantize model-f16.gguf iq4_xs --imatrix model.imatrix.gguf -o model.gguf
  ingot quantize path/to/folder q4_k_m --lora path/to/adapter:0.5 -o model.gguf

Types, from the most bits to the fewest: F32 F16 BF16 Q8_0 Q6_K Q5_1 Q5_0 Q5_K_M
Q5_K_S Q4_1 Q4_K_M Q4_K_S Q4_0 IQ4_NL IQ4_XS MXFP4 Q3_K_L Q3_K_M Q3_K_S Q2_K Q2_K_S.
They are mixtures, the same as llama.cpp's: the output matrix and some others get
more bits, norms and routers stay as they are, and rows that are not whole blocks
get a type of shorter blocks. --dry-run shows which tensor gets what.

Errors are those of the weights: the root mean square of the differences as a share
of that of the values, and the largest difference.")]
pub struct QuantizeArgs {
    /// Model file, folder or name
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// The type of most tensors
    #[arg(value_name = "TYPE", value_parser = mix)]
    pub mix: Mix,
    /// Importance matrix of this model, in either of llama.cpp's forms: errors count by
    /// what is multiplied with them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub imatrix: Option<PathBuf>,
    /// Give every matrix the same type
    #[arg(long)]
    pub pure: bool,
    /// Quantize weights that are quantized already
    #[arg(long)]
    pub allow_requantize: bool,
    /// How the file is made.
    #[command(flatten)]
    pub making: Making,
}

/// Make a GGUF file of a Hugging Face folder.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot convert path/to/huggingface-folder -o model.gguf
  ingot convert path/to/huggingface-folder --type q4_k_m -o model.gguf
  ingot convert model-00001-of-00003.gguf -o model.gguf
  ingot convert path/to/folder --lora path/to/adapter -o merged.gguf

The weights keep their type unless --type says otherwise; tokenizer and chat
template come along. Files that are split become one.")]
pub struct ConvertArgs {
    /// Model file, folder or name
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// The type of most tensors, as of `ingot quantize` [default: the model's own]
    #[arg(long = "type", value_name = "TYPE", value_parser = mix)]
    pub mix: Option<Mix>,
    /// How the file is made.
    #[command(flatten)]
    pub making: Making,
}

/// How a file is made.
#[derive(Args)]
pub struct Making {
    /// The file to make
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "dry_run")]
    pub output: Option<PathBuf>,
    /// Add a LoRA adapter (PEFT folder or GGUF), by default with a factor of 1 (repeatable)
    #[arg(long, value_name = "ADAPTER[:FACTOR]")]
    pub lora: Vec<String>,
    /// Threads to use [default: as many as there are processors]
    #[arg(short, long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Show types and sizes and make nothing
    #[arg(long)]
    pub dry_run: bool,
    /// List every tensor instead of one line for the same tensor of all layers
    #[arg(long)]
    pub tensors: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn mix(name: &str) -> Result<Mix, String> {
    Mix::named(name).ok_or_else(|| {
        let names: Vec<&str> = Mix::ALL.iter().map(|mix| mix.name()).collect();
        format!("expected one of {}", names.join(" "))
    })
}
