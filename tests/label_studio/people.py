"""Make users and their personal access tokens; run by Label Studio's own Python, which has its models.

python people.py NAME...          print the token of each user by name, as JSON
python people.py --expired NAME   print a token that has ended
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from datetime import timedelta
from pathlib import Path


def main(arguments: list[str]) -> None:
    spec = importlib.util.find_spec("label_studio")
    assert spec is not None
    assert spec.origin is not None
    sys.path.insert(0, str(Path(spec.origin).parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "label_studio.core.settings.label_studio")

    import django

    django.setup()

    from jwt_auth.models import LSAPIToken
    from organizations.models import Organization
    from users.models import User

    tokens = {}
    organization = Organization.objects.first()
    for name in [argument for argument in arguments if argument != "--expired"]:
        email = f"{name}@example.com"
        user = User.objects.filter(email=email).first() or User.objects.create_user(
            email=email, password=f"{name}-pass"
        )
        user.first_name, user.active_organization = name, organization
        user.save()
        organization.add_user(user)
        token = LSAPIToken.for_user(user)
        if "--expired" in arguments:
            token.set_exp(lifetime=timedelta(seconds=-10))
        tokens[name] = token.get_full_jwt()
    print(f"tokens {json.dumps(tokens)}")


if __name__ == "__main__":
    main(sys.argv[1:])
