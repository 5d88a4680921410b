"""Word lists of what may leave: plain data, nothing of how it is used."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


EXTENSIONS = _words(
    """
    adoc asm astro avro awk bash bat bazel bib bin bmp bz2 c cc cfg cjs class cmake cmd conf cpp cs css
    csv cu cxx d dart db diff dll doc docx ejs elm env erl ex exs fish fs gif gitignore go gql gradle
    graphql gz h hbs hcl hh hpp hs htm html ico ini ipynb jar java jpeg jpg js json json5 jsonl jsx jl
    kt kts less lock log lua m4 make map md mdx mjs mk ml mm mp3 mp4 nim nix o onnx org out parquet
    patch pdf php pkl pl plist png po proto ps1 py pyc pyi pyx r rb rkt rmd rs rst s sass scala scss sh
    so sol sql sqlite svelte svg swift tar tex tf tfvars tgz tmpl toml ts tsv tsx ttf txt v vim vue wasm
    wav webp whl woff xls xlsx xml yaml yml zig zip zsh
    """
)
"""File extensions: kept, for they say the language and nothing else."""

PROSE = _words(
    """
    and/or either/or he/she she/he him/her his/her s/he n/a i/o w/o c/o yes/no true/false on/off in/out
    input/output read/write client/server request/response req/res key/value name/value pros/cons
    if/else try/except try/catch start/end start/stop before/after left/right up/down tcp/ip pass/fail
    get/set application/json application/xml application/pdf application/zip application/octet-stream
    text/plain text/html text/css text/csv text/markdown text/xml image/png image/jpeg image/gif
    image/svg+xml multipart/form-data text/event-stream text/javascript application/javascript
    """
)
"""What has a slash and is no path: words set side by side, and media types."""

UNITS = _words(
    """
    s sec min m h hr d day w week mo month y yr year req call token msg item
    """
)
"""What follows a slash in a rate, as in ``jobs/s``."""

HOST_ENDS = _words(
    """
    com org net edu gov mil io dev ai co cloud biz xyz tech local lan internal intranet corp localdomain
    onion eu uk de fr nl ch es se fi dk pl cz ru ua cn jp kr au nz br mx
    """
)
"""How hosts end: only tells a host from a dotted name, both are replaced."""

COMMON_USERS = _words(
    """
    admin agent alpine app bot build builder ci code debian default dev developer docker guest home
    jenkins me node public root runner shared test ubuntu user vagrant vscode work workspace
    """
)
"""Names of users that say nothing, and words a prompt cannot do without."""

SCHEMA_TERMS = _words(
    """
    array boolean const default description format integer items maximum maxItems minimum minItems null
    number object pattern properties required string title additionalProperties
    """
)
"""JSON Schema's own words: a prompt that shows a schema must show them."""
