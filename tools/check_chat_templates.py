#!/usr/bin/env python3
"""Compares prompts that this program renders with those of Hugging Face transformers (jinja2), byte by byte.

Usage:
  check_chat_templates.py --program build/release/metal-marlin [--model models/minnow] TEMPLATES...

TEMPLATES are files with a template (*.jinja), folders of them, or GGUF files whose metadata hold one. Files are rendered
with the special tokens of the model, a folder with a Hugging Face tokenizer. Every template is rendered with every list
of messages below. Where transformers refuses, the program has to refuse, too. What the program does not support is
counted by itself. Exit 0 when nothing differs.
Needs `pip install transformers jinja2 gguf`.
"""
import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tempfile

USER = {"role": "user", "content": "How warm is the sea?"}
SYSTEM = {"role": "system", "content": "You answer in one sentence."}
ASSISTANT = {"role": "assistant", "content": "About 17 degrees."}
CALL = {"type": "function", "id": "call00001",
        "function": {"name": "tide", "arguments": {"port": "Brest", "day": 3, "exact": True, "note": None}}}
PARTS = [{"type": "text", "text": "First part."}, {"type": "text", "text": " Second <part> & 'more'."}]

MESSAGES = {
    "user": [USER],
    "system": [SYSTEM, USER],
    "system alone": [SYSTEM],
    "turns": [USER, ASSISTANT, {"role": "user", "content": "And in winter?"}],
    "system and turns": [SYSTEM, USER, ASSISTANT, {"role": "user", "content": "And in winter?"}, ASSISTANT, USER],
    "assistant last": [USER, ASSISTANT],
    "assistant first": [ASSISTANT, USER],
    "two of the user": [USER, USER],
    "late system": [USER, ASSISTANT, SYSTEM, USER],
    "developer": [{"role": "developer", "content": "Be short."}, USER],
    "strange role": [{"role": "captain", "content": "Ahoy."}, USER],
    "spaces": [{"role": "system", "content": "  \n"}, {"role": "user", "content": "\n  indented \t text \n\n"}],
    "empty": [{"role": "user", "content": ""}],
    "letters": [{"role": "user", "content": "Köln, 東京, \U0001F41F, é, \u2028, \"quotes\", back\\slash, {{ x }}, {% y %}"}],
    "no content": [USER, {"role": "assistant"}, USER],
    "content none": [USER, {"role": "assistant", "content": None}, USER],
    "number": [{"role": "user", "content": 42}],
    "parts": [{"role": "system", "content": PARTS[:1]}, {"role": "user", "content": PARTS}],
    "image": [{"role": "user", "content": [{"type": "image"}, *PARTS]}],
    "thoughts": [USER, {"role": "assistant", "content": "<think>\nIt is spring.\n</think>\n\nAbout 12 degrees."}, USER],
    "reasoning": [USER, {"role": "assistant", "reasoning_content": "It is spring.", "content": "About 12 degrees."}, USER],
    "reasoning last": [USER, {"role": "assistant", "thinking": "It is spring.", "content": "About 12 degrees."}],
    "call": [SYSTEM, USER, {"role": "assistant", "content": "", "tool_calls": [CALL]},
             {"role": "tool", "name": "tide", "tool_call_id": "call00001", "content": "{\"height\": 2.5}"}, ASSISTANT],
    "calls": [USER, {"role": "assistant", "content": "I look.", "tool_calls": [CALL, CALL]},
              {"role": "tool", "name": "tide", "tool_call_id": "call00001", "content": "1.5"},
              {"role": "tool", "name": "tide", "tool_call_id": "call00001", "content": "2.5"}],
    "call as text": [USER, {"role": "assistant", "tool_calls": [
        {"type": "function", "function": {"name": "tide", "arguments": "{\"port\": \"Brest\"}"}}]},
        {"role": "tool", "content": "1.5"}, USER],
    "nothing": [{"role": "user", "content": "x"}] * 12,
}


def templates_of(paths):
    """Pairs of a name and a file: *.jinja or *.gguf."""
    for path in map(pathlib.Path, paths):
        files = sorted(path.glob("*.jinja")) if path.is_dir() else [path]
        for file in files:
            yield file.stem, file


class Transformers:
    """Renders as AutoTokenizer.apply_chat_template does."""

    def __init__(self, model):
        from transformers import AutoTokenizer

        self.tokens = AutoTokenizer.from_pretrained(model).special_tokens_map

    def of_gguf(self, path):
        """The template and the special tokens."""
        import gguf

        fields = gguf.GGUFReader(path).fields
        words = fields["tokenizer.ggml.tokens"]
        names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
        tokens = {}
        for key, name in names.items():
            field = fields.get(f"tokenizer.ggml.{key}_token_id")
            if field is not None:
                tokens[name] = bytes(words.parts[words.data[field.contents()]]).decode()
        return fields["tokenizer.chat_template"].contents(), tokens

    def render(self, file, messages):
        from transformers.utils import chat_template_utils as utils

        template, tokens = self.of_gguf(file) if file.suffix == ".gguf" else (file.read_text(), self.tokens)
        conversation = utils._normalize_chat_messages(messages)
        return utils.render_jinja_template([conversation], chat_template=template, add_generation_prompt=True, **tokens)[0][0]


def render_ours(program, model, file, messages):
    """Exit code, prompt, message."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as listed:
        json.dump(messages, listed, ensure_ascii=False)
        listed.flush()
        chosen = [str(file)] if file.suffix == ".gguf" else [model, "--chat-template", str(file)]
        words = [program, "generate", *chosen, "--chat", "--messages", listed.name, "--print-prompt"]
        done = subprocess.run(words, capture_output=True)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace").strip()


def compare(name, kind, theirs, refusal, ours):
    """What came out: same, refused, unsupported or differs."""
    code, prompt, message = ours
    if theirs is None:
        if code in (3, 5):
            return "refused"
        print(f"{name}, {kind}: transformers refuses ({refusal}), the program gives exit code {code}: {message}")
        return "differs"
    if code == 0 and prompt == theirs.encode():
        return "same"
    if code == 5:
        print(f"{name}, {kind}: unsupported: {message}")
        return "unsupported"
    print(f"{name}, {kind}: differs (exit code {code}) {message}")
    if code == 0:
        print(f"  theirs {theirs.encode()!r}\n  ours   {prompt!r}")
    return "differs"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", default="models/minnow")
    parser.add_argument("templates", nargs="+")
    options = parser.parse_args()
    transformers = Transformers(options.model)
    counts = collections.Counter()
    templates = 0
    for name, file in templates_of(options.templates):
        templates += 1
        for kind, messages in MESSAGES.items():
            theirs, refusal = None, ""
            try:
                theirs = transformers.render(file, messages)
            except Exception as error:  # jinja2, and what Python raises inside a template
                refusal = f"{type(error).__name__}: {str(error)[:200]}"
            counts[compare(name, kind, theirs, refusal, render_ours(options.program, options.model, file, messages))] += 1
    print(f"{templates} templates, {sum(counts.values())} pairs: " +
          ", ".join(f"{counts[key]} {key}" for key in ("same", "refused", "unsupported", "differs")))
    return 1 if counts["differs"] else 0


if __name__ == "__main__":
    sys.exit(main())
