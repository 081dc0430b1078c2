"Requirements from settings.ini; everything else is in pyproject.toml"
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup

cfg = ConfigParser(delimiters=['='])
cfg.read(Path(__file__).with_name('settings.ini'), encoding='utf-8')
reqs = {k: v.split() for k, v in cfg['DEFAULT'].items()}
extras = {k.removesuffix('_requirements'): v for k, v in reqs.items() if k.endswith('_requirements')}
setup(install_requires=reqs['requirements'], extras_require=extras)
