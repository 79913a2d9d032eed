#!/usr/bin/env bash
# Prints what CloudFormation makes of a SAM template, with stand-ins for the
# uploaded code. It needs no network: the transform is the SAM CLI's own.
set -euo pipefail
template=${1:?usage: transform.sh TEMPLATE}
python=$(dirname "$(readlink -f "$(command -v sam || echo "$(dirname "$0")/../../.tmp/venv-sam/bin/sam")")")/python
AWS_DEFAULT_REGION=us-east-1 "$python" - "$template" <<'PYTHON'
import json
import sys

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse


class NoManagedPolicies:
    """The template names none, so none has to be looked up."""

    def load(self):
        return {}


with open(sys.argv[1]) as file:
    template = yaml_parse(file)
template["Globals"]["Function"]["CodeUri"] = "s3://stand-in/code"
json.dump(transform(template, {}, NoManagedPolicies()), sys.stdout, indent=1)
PYTHON
