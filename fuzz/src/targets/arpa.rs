//! Language models as ARPA files, and what is asked of them.

use super::Target;
use super::kenlm::ask;
use crate::input::{Input, together};
use decode::lm::Model;
use std::path::Path;

pub const TARGET: Target = Target {
    name: "arpa",
    seeds,
    words: &[
        "\\data\\\n",
        "\\end\\\n",
        "\\1-grams:\n",
        "\\2-grams:\n",
        "\\3-grams:\n",
        "ngram 1=4\n",
        "ngram 2=18446744073709551615\n",
        "<unk>",
        "<s>",
        "</s>",
        "\t",
        "\n",
        "\r\n",
        "-99",
        "-inf",
        "nan",
        "\0",
    ],
    run,
};

const SMALL: &str = "\\data\\\nngram 1=5\nngram 2=3\nngram 3=1\n\n\\1-grams:\n-2\t<unk>\n-99\t<s>\t-0.3\n-0.7\t</s>\n-0.6\ta\t-0.2\n\
                     -0.9\tb\n\n\\2-grams:\n-0.2\t<s> a\t-0.1\n-0.4\ta b\n-0.3\tb </s>\n\n\\3-grams:\n-0.1\t<s> a b\n\n\\end\\\n";

fn seeds() -> Vec<Input> {
    vec![
        Input::new("lm.arpa", SMALL.as_bytes().to_vec()),
        together("decode/tests/fixtures/lm", &["lm2.arpa"]),
    ]
}

fn run(input: &Input, folder: &Path) -> bool {
    let Ok(path) = input.write(folder) else { return false };
    match Model::open(&path) {
        Ok(model) => ask(&model),
        Err(e) => {
            let _ = e.to_string();
            false
        }
    }
}
