"""Push an export to a hub as a dataset repository: only when asked, private unless asked otherwise.

The token is the one that `hf auth login` or HF_TOKEN gives huggingface_hub; it is never read, shown or written here.
"""

import re
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.exports.export import EXPORT, FILES
from congrad.stage import is_finished
from congrad.words import one_line

REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
OWN_FILES = {".gitattributes"}


def push(directory: Path, repository: str, *, public: bool = False, api: Any = None) -> str:
    """Creates the repository if need be and uploads the export; gives its address.

    Args:
        directory: what `export_run` wrote. Nothing else that lies there is uploaded.
        repository: `user/name`.
        public: make it public. Without, a repository that is public already is refused.
        api: a `huggingface_hub.HfApi`; None for one of the user's own settings.

    Raises:
        UserError: the name is not one, the hub refuses or cannot be reached, or the repository is public, or holds
            something that is not an export.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    assert is_finished(directory, EXPORT), "only a whole export is pushed"
    if REPOSITORY.fullmatch(repository) is None:
        raise UserError(f"--push-to-hub {repository!r}: not the name of a repository", "write USER/NAME")
    api = api or HfApi()
    try:
        url = api.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
        name = url.repo_id
        found = api.repo_info(name, repo_type="dataset")
        if not public and not found.private:
            problem = f"--push-to-hub {name}: exists already and is public"
            raise UserError(problem, "add --public, or choose another name")
        files = set(api.list_repo_files(name, repo_type="dataset"))
        if files - OWN_FILES and EXPORT.last not in files:
            problem = f"--push-to-hub {name}: holds files that are not an export of congrad"
            raise UserError(problem, "choose another name")
        api.upload_folder(
            folder_path=directory,
            repo_id=name,
            repo_type="dataset",
            commit_message="Preference pairs filtered with ConGrad",
            allow_patterns=[file for file in FILES if is_own(directory / file)],
            delete_patterns=["*"],  # what an export in another layout left
        )
    except (HfHubHTTPError, HFValidationError) as error:
        problem = f"--push-to-hub {repository}: the hub refuses ({one_line(error)})"
        raise UserError(problem, "run `hf auth login`, and check the name") from error
    except (OfflineModeIsEnabled, LocalTokenNotFoundError, OSError) as error:
        problem = f"--push-to-hub {repository}: the hub cannot be reached ({one_line(error)})"
        raise UserError(problem, f"the export is in {directory}") from error
    return str(url)


def is_own(path: Path) -> bool:
    """Whether a file lies here itself: what a link leads to was not written by the export."""
    return path.is_file() and not path.is_symlink()
