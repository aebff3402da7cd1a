"""A sound file for every reader of the genome's text formats and of the portfolio's tables."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import toy_genome as toy
from contract.fuzz import GZIP, PLAIN, Parser, member
from contract.fuzz_sciences import DESCRIBED, _sample, _trained, head, text

# Genome -------------------------------------------------------------------------------------------------------------


def _fasta(path: Path) -> None:
    from thalweg.genome.data.sequence import read_fasta

    assert all(np.isin(each.codes, range(5)).all() for each in read_fasta(path).values())


def _annotation(path: Path) -> None:
    from thalweg.core.errors import InputError
    from thalweg.genome.data.annotation import read_annotation
    from thalweg.genome.data.genes import genes

    found = read_annotation(path)
    with contextlib.suppress(InputError):  # it knows the transcripts alone, and says so without a file
        genes(found)


def _variants(path: Path) -> None:
    from thalweg.genome.data.vcf import read_vcf

    read_vcf(path)


def _methylation(path: Path) -> None:
    from thalweg.genome.data.methylation import read_methylation

    read_methylation(path, first=1)


def _junctions(path: Path) -> None:
    from thalweg.genome.data.uci import read_junctions

    read_junctions(path)


_VCF = (
    "##fileformat=VCFv4.2\n##INFO=<ID=DP,Number=1,Type=Integer,Description=\"depth\">\n"
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tsample\n"
    "chr1\t100\trs1\tA\tC\t50\tPASS\tDP=3\tGT\t0/1\nchr1\t100\t.\tA\tC,<DEL>,*\t.\t.\t.\tGT\t1/2\n"
    "chr2\t5\t.\tacgt\tA\t.\tq10\tDP=2;END\tGT\t./.\n"
)  # fmt: skip
_SITES = [(3, "+", "CG", 3, 4), (4, "-", "CG", 0, 5), (9, "+", "CHG", 1, 2), (20, "+", "CHH", 1, 8)]


def _table(row: Callable[[int, str, str, int, int], tuple]) -> str:
    return "".join("\t".join(map(str, ("chr1", *row(*site)))) + "\n" for site in _SITES)


_METHYLATION = {
    "bed": _table(lambda at, sign, context, k, n: (at, at + 1, context, n, sign, 100 * k / n)),
    "coverage": _table(lambda at, sign, context, k, n: (at + 1, at + 1, 100 * k / n, k, n - k)),
    "report": _table(lambda at, sign, context, k, n: (at + 1, sign, k, n - k, context, "CNN")),
    "bedmethyl": _table(
        lambda at, sign, context, k, n: (at, at + 1, ".", n, sign, at, at + 1, "0,0,0", n, 100 * k / n)
    ),
}
_ROWS = "".join(f"{label}, NAME-{at}, {'ACGTNACGTDACGTSACGTR' * 3}\n" for at, label in enumerate(["EI", "IE", "N"]))

GENOME = (
    Parser("genome-fasta", text("cress.fa", head("cress_chr1_start.fa.gz", 20)), _fasta),
    Parser("genome-fasta.gz", text("toy.fa.gz", gzip.compress(toy.fasta(toy.bases()).encode())), _fasta, (PLAIN, GZIP)),
    Parser("genome-gff3", text("cress.gff3", head("cress_chr1_start.gff3.gz", 40)), _annotation),
    Parser("genome-gff3-toy", text("toy.gff3", toy.gff3()), _annotation),
    Parser("genome-gtf", text("toy.gtf.gz", gzip.compress(toy.gtf().encode())), _annotation, (PLAIN, GZIP)),
    Parser("genome-vcf", text("some.vcf", _VCF), _variants),
    *(Parser(f"genome-{name}", text(f"sites.{name}", rows), _methylation) for name, rows in _METHYLATION.items()),
    Parser("genome-junctions", text("rows.data", _ROWS), _junctions),
    Parser("genome-network", _sample("arabidopsis_splice_network.safetensors"), _trained("genome"), DESCRIBED),
)

# Portfolio ----------------------------------------------------------------------------------------------------------


def _reader(module: str, name: str, **options: Any) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        from importlib import import_module

        from thalweg.portfolio.data import tables

        tables._sheets.cache_clear()  # it goes by size and time, which two damages may share
        getattr(import_module(f"thalweg.portfolio.data.{module}"), name)(path, **options)

    return read


_EMISSIONS = _reader("emissions", "read_emissions")
_HOLDINGS = _reader("holdings", "read_holdings")
_FUNDAMENTALS = _reader("fundamentals", "read_fundamentals")
_LONG = "unique_id,ds,y,unit,quality\nA,2019,5,kt CO2e,2\nA,2020,4000,t CO2e,2\nB,2020-12-31,1.5,Mt CO2e,1\n"
_WIDE = "unique_id,unit,2019,2020,2021\nA,kt CO2e,1,2,3\nB,t CO2e,500,,4\n"
_MAJORS = (
    "year,parent_entity,parent_type,commodity,production_value,production_unit,total_emissions_MtCO2e\n"
    "2019,Shell,Investor-owned Company,Oil & NGL,13.5,Million bbl/yr,5.6\n"
    "2020,Shell,Investor-owned Company,Coal,3,Mt,8\n"
)
_OLD = (
    "company_name,company_id,emissions_metric,2019_ghg_s1s2,2020_ghg_s1s2,2019_ghg_s3\n"
    "A,US1,t CO2,100,90,5\nB,US2,Mt CO2,20,,6\n"
)
_ETS = "account_id,year,tonnes_co2\nA1,2019,100\nA1,2020,90\nB2,2020,Excluded\nB2,2021,7\n"
_DRIVERS = "driver,year,value\noil,2019,50\noil,2020,40\noil,2021,60\noil,2022,90\n"
_BANK = "Country Name,Country Code,Year,Value\nWorld,WLD,2019,1e13\nWorld,WLD,2020,1.1e13\nWorld,WLD,2021,1.2e13\n"
_SCENARIO = "Model,Scenario,Region,Variable,Unit,2020,2025,2030\nM,S,World,oil,USD,4,5,6\nM,T,World,oil,USD,40,45,50\n"
_RATES = "currency,rate,date\nUSD,0.5,2021-12-31\nEUR m,1000000,\nGBP,1.25,2021\n"
_INVESTED = "company_id,company_name,investment_value,currency,score\nA,Alpha,100,EUR,1.5\nB,Beta,2,GBP m,2\n"


def _workbook(part: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import csv
        import io

        import openpyxl

        book = openpyxl.Workbook()
        sheet = book.worksheets[0]
        for row in csv.reader(io.StringIO(head(f"itr_panel_{part}.csv", 6).decode())):
            sheet.append([float(cell) if cell.replace(".", "", 1).isdigit() else cell for cell in row])
        book.save(folder / f"{part}.xlsx")
        return folder / f"{part}.xlsx"

    return make


_BOOK = (PLAIN, *map(member, ("xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/styles.xml", "[Content_Types].xml")))
PORTFOLIO = (
    Parser("portfolio-emissions", text("emissions.csv", head("itr_panel_emissions.csv", 25)), _EMISSIONS),
    *(
        Parser(f"portfolio-emissions-{name}", text("emissions.csv", rows), _EMISSIONS)
        for name, rows in {"long": _LONG, "wide": _WIDE, "majors": _MAJORS, "old": _OLD, "ets": _ETS}.items()
    ),
    Parser("portfolio-holdings", text("holdings.csv", head("itr_panel_holdings.csv", 8)), _HOLDINGS),
    Parser("portfolio-holdings-currencies", text("holdings.csv", _INVESTED), _HOLDINGS),
    Parser("portfolio-fundamentals", text("fundamentals.csv", head("itr_panel_fundamentals.csv", 8)), _FUNDAMENTALS),
    Parser("portfolio-drivers", text("drivers.csv", _DRIVERS), _reader("drivers", "read_drivers")),
    Parser("portfolio-drivers-bank", text("drivers.csv", _BANK), _reader("drivers", "read_drivers", country="WLD")),
    Parser("portfolio-scenarios", text("scenario.csv", _SCENARIO), _reader("scenarios", "read_scenarios")),
    Parser("portfolio-rates", text("rates.csv", _RATES), _reader("rates", "read_rates")),
    *(
        Parser(f"portfolio-{part}.xlsx", _workbook(part), _reader(part, f"read_{part}"), _BOOK)
        for part in ("holdings", "fundamentals", "emissions")
    ),
)
