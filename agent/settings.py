"""One settings class: flags override the environment, which overrides one TOML file."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import AliasChoices, BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tools.config import CloudConfig, EndpointConfig, TimeLimits, utc_now
from tools.errors import ConfigurationError

APP = "gemma-sre"


def config_file() -> Path:
    """Return the path of the TOML file: ``GEMMA_SRE_CONFIG``, else the user's config folder."""
    named = os.environ.get("GEMMA_SRE_CONFIG")
    return Path(named) if named else platformdirs.user_config_path(APP) / "config.toml"


def default_state() -> Path:
    """Return where ``state.db`` lies when nothing names another place."""
    return platformdirs.user_state_path(APP) / "state.db"


class Limits(BaseModel):
    """Time limits in seconds, and the breakers of a turn."""

    model_config = {"extra": "forbid"}

    cloud: float = Field(default=10.0, gt=0)
    connect: float = Field(default=3.0, gt=0)
    health: float = Field(default=5.0, gt=0)
    first_token: float = Field(default=30.0, gt=0)
    stall: float = Field(default=10.0, gt=0)
    between_tokens: float = Field(default=20.0, gt=0)
    answer: float = Field(default=120.0, gt=0)
    # How long a chat waits for an endpoint that starts; a diagnosis never waits for it.
    cold_start: float = Field(default=300.0, ge=0)
    # A turn: after this time, or this many steps, the model must answer with what it has.
    turn: float = Field(default=300.0, gt=0)
    model_steps: int = Field(default=6, ge=1, le=200)

    def to_tools(self) -> TimeLimits:
        """Return the part that the tools need."""
        return TimeLimits(**self.model_dump(exclude={"model_steps", "turn", "cold_start"}))


class StandIn(BaseModel):
    """A second OpenAI-compatible endpoint that may think when the patient can't.

    Incident data goes there, so it answers only when ``consent`` says so. With ``first`` it is
    asked before the patient, which is then spared altogether.
    """

    model_config = {"extra": "forbid"}

    base_url: str = ""
    model: str = ""
    api_key: SecretStr = SecretStr("")
    consent: bool = False
    first: bool = False


class Settings(BaseSettings):
    """Everything that can be set; the environment names are those that users already have."""

    model_config = SettingsConfigDict(
        env_prefix="GEMMA_SRE_", env_nested_delimiter="__", extra="ignore", populate_by_name=True
    )

    project: str = Field("", validation_alias=AliasChoices("project", "GOOGLE_CLOUD_PROJECT"))
    location: str = Field(
        "",
        validation_alias=AliasChoices("location", "GOOGLE_CLOUD_REGION", "GOOGLE_CLOUD_LOCATION"),
    )
    zone: str = Field("", validation_alias=AliasChoices("zone", "GOOGLE_CLOUD_ZONE"))
    base_url: str = Field("", validation_alias=AliasChoices("base_url", "VLLM_BASE_URL"))
    model: str = Field("", validation_alias=AliasChoices("model", "MODEL_NAME"))
    api_key: SecretStr = Field(
        SecretStr(""), validation_alias=AliasChoices("api_key", "VLLM_API_KEY")
    )
    service: str = ""
    kind: Literal["auto", "cloud-run", "tpu", "vertex", "gce", "gke", "local"] = "auto"
    impersonate: str = ""
    state: Path = Field(default_factory=default_state)
    runbooks: Path | None = None
    read_only: bool = True
    thinking: bool = False
    limits: Limits = Field(default_factory=lambda: Limits())
    stand_in: StandIn = Field(default_factory=StandIn)

    # Set by the demo only: the address of a simulated cloud, its clock, and its name.
    loopback: str = ""
    simulated: str = ""
    now: Callable[[], datetime] = Field(default=utc_now, exclude=True, repr=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, environment, the TOML file."""
        del dotenv_settings, file_secret_settings
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, toml

    @field_validator("location")
    @classmethod
    def _regional(cls, value: str) -> str:
        # "global" is what Vertex AI's clients are told; no endpoint of ours runs there.
        return "" if value == "global" else value

    @field_validator("base_url")
    @classmethod
    def _without_v1(cls, value: str) -> str:
        return value.strip().rstrip("/").removesuffix("/v1").rstrip("/")

    @classmethod
    def load(cls, **overrides: Any) -> Settings:
        """Read flags, environment and file; empty overrides count as not given.

        Raises ConfigurationError, which names the setting and the file or variable.
        """
        given = {key: value for key, value in overrides.items() if value not in (None, "")}
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise ConfigurationError(
                f"The setting {name} is not usable: {first['msg']}.",
                fix=f"Check its flag, its environment variable, and {config_file()}.",
            ) from error
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"The settings file {config_file()} can't be read: {error}."
            ) from error

    def cloud_config(self) -> CloudConfig:
        """Return what the Google adapters need."""
        return CloudConfig(
            project=self.project,
            location=self.location,
            zone=self.zone,
            loopback=self.loopback,
            impersonate=self.impersonate,
            limits=self.limits.to_tools(),
            now=self.now,
        )

    def endpoint_config(self) -> EndpointConfig:
        """Return what is known of the endpoint before discovery."""
        return EndpointConfig(
            url=self.base_url,
            model=self.model,
            api_key=self.api_key.get_secret_value(),
            found_by="VLLM_BASE_URL or base_url" if self.base_url else "",
            limits=self.limits.to_tools(),
        )
