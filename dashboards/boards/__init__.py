"""The Grafana boards as code: `python -m dashboards.boards` writes them to dashboards/grafana, `--check` compares.

They stand apart from the package because only their JSON ships: whoever imports a board needs none of this.
"""
