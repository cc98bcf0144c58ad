"""Expands codes that people write for places: airports, states, countries, and a few cities. docs/summaries.md has the rules."""

from __future__ import annotations

import re
from collections.abc import Iterable

from workers.text.tokens import HANDLE, HASHTAG


def _codes(*lines: str) -> dict[str, tuple[str, ...]]:
    """Parse a table whose entries are `CODE=name`, the words of a name joined by `+`, further names after a comma."""
    entries = (entry.split("=") for line in lines for entry in line.split())
    return {code: tuple(re.split("[+,]", names)) for code, names in entries}


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


# The hundred largest airports of the United States and the best known of other countries, by their IATA codes: the city, and what
# else the airport is called.
AIRPORTS = _codes(
    "ATL=atlanta,hartsfield DFW=dallas,fort,worth DAL=dallas,love+field DEN=denver ORD=chicago,o'hare,ohare MDW=chicago,midway",
    "LAX=los+angeles,la JFK=new+york,kennedy,nyc LGA=new+york,laguardia,la+guardia,nyc EWR=newark,new+jersey,nyc LAS=las+vegas,vegas",
    "MCO=orlando MIA=miami FLL=fort+lauderdale,lauderdale PBI=west+palm+beach TPA=tampa JAX=jacksonville RSW=fort+myers",
    "CLT=charlotte SEA=seattle,tacoma,seatac PHX=phoenix SFO=san+francisco OAK=oakland SJC=san+jose SAN=san+diego SMF=sacramento",
    "SNA=orange+county,santa+ana,john+wayne BUR=burbank,bob+hope LGB=long+beach ONT=ontario PSP=palm+springs FAT=fresno",
    "IAH=houston HOU=houston,hobby AUS=austin SAT=san+antonio ELP=el+paso LBB=lubbock BOS=boston,logan PVD=providence",
    "BDL=hartford,bradley MHT=manchester PWM=portland BTV=burlington ALB=albany SYR=syracuse ROC=rochester BUF=buffalo ISP=islip",
    "HPN=white+plains PHL=philadelphia,philly PIT=pittsburgh ERI=erie MDT=harrisburg ABE=allentown AVP=scranton DCA=washington,reagan",
    "IAD=washington,dulles BWI=baltimore,washington RIC=richmond ORF=norfolk ROA=roanoke CHO=charlottesville RDU=raleigh,durham",
    "GSO=greensboro CAE=columbia CHS=charleston SAV=savannah MYR=myrtle+beach AVL=asheville BNA=nashville MEM=memphis TYS=knoxville",
    "CHA=chattanooga SDF=louisville LEX=lexington CVG=cincinnati CMH=columbus CLE=cleveland DAY=dayton IND=indianapolis DTW=detroit",
    "GRR=grand+rapids MSP=minneapolis,saint+paul MKE=milwaukee MSN=madison DSM=des+moines CID=cedar+rapids STL=saint+louis MCI=kansas+city",
    "OMA=omaha ICT=wichita OKC=oklahoma+city TUL=tulsa LIT=little+rock XNA=fayetteville BHM=birmingham MGM=montgomery HSV=huntsville",
    "MSY=new+orleans BTR=baton+rouge JAN=jackson SHV=shreveport ABQ=albuquerque TUS=tucson SLC=salt+lake+city BOI=boise RNO=reno",
    "COS=colorado+springs ASE=aspen EGE=vail GJT=grand+junction JAC=jackson+hole BZN=bozeman BIL=billings FSD=sioux+falls FAR=fargo",
    "PDX=portland GEG=spokane EUG=eugene ANC=anchorage FAI=fairbanks HNL=honolulu OGG=maui KOA=kona LIH=kauai SJU=san+juan",
    "YYZ=toronto,pearson YUL=montreal YVR=vancouver YYC=calgary YOW=ottawa YEG=edmonton YHZ=halifax MEX=mexico+city CUN=cancun",
    "NAS=nassau MBJ=montego+bay PUJ=punta+cana SDQ=santo+domingo HAV=havana PTY=panama BOG=bogota LIM=lima SCL=santiago",
    "EZE=buenos+aires GRU=sao+paulo GIG=rio LHR=london,heathrow LGW=london,gatwick STN=london,stansted LCY=london,city LTN=london,luton",
    "MAN=manchester EDI=edinburgh GLA=glasgow DUB=dublin CDG=paris,charles+gaulle ORY=paris,orly AMS=amsterdam,schiphol BRU=brussels",
    "FRA=frankfurt MUC=munich BER=berlin TXL=berlin,tegel HAM=hamburg DUS=dusseldorf ZRH=zurich GVA=geneva VIE=vienna MAD=madrid",
    "BCN=barcelona LIS=lisbon OPO=porto FCO=rome MXP=milan VCE=venice ATH=athens IST=istanbul CPH=copenhagen ARN=stockholm OSL=oslo",
    "HEL=helsinki WAW=warsaw PRG=prague BUD=budapest SVO=moscow DME=moscow DXB=dubai AUH=abu+dhabi DOH=doha TLV=tel+aviv CAI=cairo",
    "JNB=johannesburg CPT=cape+town NBO=nairobi LOS=lagos DEL=delhi BOM=mumbai,bombay BLR=bangalore HKG=hong+kong SIN=singapore",
    "BKK=bangkok KUL=kuala+lumpur CGK=jakarta MNL=manila PEK=beijing PVG=shanghai NRT=tokyo,narita HND=tokyo,haneda KIX=osaka ICN=seoul",
    "SYD=sydney MEL=melbourne BNE=brisbane PER=perth AKL=auckland",
)
# Those that are no word of English and no name, so that they are codes in small letters too.
_SMALL_TOO = _words(
    "jfk lga ewr sfo phl clt dfw iah dca iad bwi bna pdx slc phx msp fll pbi mco tpa stl rdu cvg cmh dtw mke mci abq lax lhr atl ord"
)

STATES = _codes(
    "AL=alabama AK=alaska AZ=arizona AR=arkansas CA=california CO=colorado CT=connecticut DE=delaware FL=florida GA=georgia HI=hawaii",
    "ID=idaho IL=illinois IN=indiana IA=iowa KS=kansas KY=kentucky LA=louisiana ME=maine MD=maryland MA=massachusetts MI=michigan",
    "MN=minnesota MS=mississippi MO=missouri MT=montana NE=nebraska NV=nevada NH=new+hampshire NJ=new+jersey NM=new+mexico NY=new+york",
    "NC=north+carolina ND=north+dakota OH=ohio OK=oklahoma OR=oregon PA=pennsylvania RI=rhode+island SC=south+carolina SD=south+dakota",
    "TN=tennessee TX=texas UT=utah VT=vermont VA=virginia WA=washington WV=west+virginia WI=wisconsin WY=wyoming DC=washington",
)
# Alone these are words, chemists' or doctors' letters; after a comma, as in `Portland, OR`, they are states.
_AFTER_A_COMMA = _words("AL AR CO CT DE HI ID IN LA MA MD ME MI MO MS MT NE OH OK OR PA RI SC SD VA")

_OTHERS = _codes(
    "NYC=new+york+city LA=los+angeles SF=san+francisco DC=washington UK=united+kingdom,britain GB=britain,united+kingdom US=united+states",
    "USA=united+states,america UAE=united+arab+emirates EU=european+union,europe NZ=new+zealand KSA=saudi+arabia HK=hong+kong",
    "FR=france DE=germany IT=italy ES=spain IE=ireland CA=canada AU=australia JP=japan CN=china IN=india BR=brazil MX=mexico",
    "NL=netherlands",
)
_IN_CAPITALS = _words("NYC UK UAE EU NZ KSA HK USA LA SF DC")
_CODE = re.compile(r"(?<![A-Za-z0-9'])(,\s*)?([A-Z]{2,3}|[a-z]{3})(?![A-Za-z0-9'])")
_IN_A_TAG = re.compile(r"([a-z]{3})_?(?:airport|intl|international)", re.IGNORECASE)
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]{2}")


def names(text: str) -> set[str]:
    """Return the words, in small letters, of the names that codes in a tweet stand for; a few codes count in small letters too."""
    found: set[str] = set()
    for comma, code in _CODE.findall(text):
        found.update(_of_code(code, after_a_comma=bool(comma)))
    for tag in [match.group() for match in HANDLE.finditer(text)] + HASHTAG.findall(text):
        found.update(_of_tag(tag.lstrip("@＠")))
    for flag in _FLAG.findall(text):
        found.update(_OTHERS.get("".join(chr(ord(letter) - 0x1F1E6 + ord("A")) for letter in flag), ()))
    return found | ({"st"} if "saint" in found else set())


def _of_code(code: str, after_a_comma: bool) -> Iterable[str]:
    if code.islower():
        yield from AIRPORTS.get(code.upper(), ()) if code in _SMALL_TOO else ()
        return
    yield from AIRPORTS.get(code, ())
    if code in _IN_CAPITALS:
        yield from _OTHERS[code]
    if after_a_comma or code not in _AFTER_A_COMMA:
        yield from STATES.get(code, ())


def _of_tag(tag: str) -> Iterable[str]:
    """Yield the code of a hashtag or handle that is a code, as `#ABQ`, or begins with one, as `@PHLAirport`."""
    begins = _IN_A_TAG.match(tag)
    if begins:
        yield from AIRPORTS.get(begins.group(1).upper(), ())
    elif tag.isupper() or tag in _SMALL_TOO:
        yield from _of_code(tag, after_a_comma=False)
