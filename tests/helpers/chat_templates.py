"""A chat template in Gemma 4's form, and copies of the demo target that carry one."""

from __future__ import annotations

from pathlib import Path

from helpers.demo_files import with_metadata

from gemma_mtp.files.gguf_values import string

TEMPLATE = """\
{{ bos_token }}
{%- if enable_thinking or messages[0]['role'] == 'system' %}
    {{- '<|turn>system\\n' }}
    {%- if enable_thinking %}
        {{- '<|think|>\\n' }}
    {%- endif %}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] | trim }}
        {%- set messages = messages[1:] %}
    {%- endif %}
    {{- '<turn|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] not in ['user', 'assistant'] %}
        {{- raise_exception('no such role: ' + message['role'] | tojson) }}
    {%- endif %}
    {%- if not message['content'] %}
        {%- continue %}
    {%- endif %}
    {{- '<|turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' }}
    {{- message['content'] | trim + '<turn|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|turn>model\\n' }}
{%- endif %}
"""


def with_template(target: Path, path: Path, template: str = TEMPLATE) -> Path:
    return with_metadata(target, path, {"tokenizer.chat_template": string(template)})
