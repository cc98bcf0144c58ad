"""Holds closed lists of English: the words that carry no content of their own, slang and what it stands for, negation, hedges, numbers."""

from __future__ import annotations


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


def _table(*lines: str) -> dict[str, tuple[str, ...]]:
    """Parse a table whose entries are `word=expansion`, further words of the expansion joined by `+`."""
    entries = (entry.split("=") for line in lines for entry in line.split())
    return {word: tuple(expansion.split("+")) for word, expansion in entries}


FUNCTION = _words(
    "a an the this that these those there here it its it's itself he him his she her hers they them their theirs themselves",
    "i me my mine myself we us our ours ourselves you your yours yourself someone somebody something anyone anybody anything",
    "everyone everybody everything one ones who whom whose which what when where why how whether am is are was were be been being",
    "do does did doing done have has had having will would shall should can could may might must ought let lets let's get gets got",
    "getting go goes going and or but nor so yet if because since as than then though although while until unless of to in on at for",
    "with from by about into onto over under up down out off after before between through during without within against per via not no",
    "never too very just also even still only all any some each every both either neither other another such same own more most much",
    "many few less please yes really again ever now ago like around upon toward towards near number plus none",
    "i'm i've i'll i'd you're you've you'll you'd he's he'll he'd she's she'll she'd we're we've we'll we'd they're they've they'll",
    "they'd that's there's here's what's who's where's how's when's why's isn't aren't wasn't weren't don't doesn't didn't haven't",
    "hasn't hadn't won't wouldn't shan't shouldn't can't cannot couldn't mustn't needn't ain't it'll it'd",
    "gonna gunna wanna gotta hafta kinda sorta lemme gimme",
)

SLANG = _table(
    "u=you ur=your+you+are+you're r=are y=why n=and+in 2=to+too 4=for b=be c=see k=okay ok=okay okay=ok im=i+am ive=i+have ill=i+will",
    "id=i+would dont=do+not doesnt=does+not didnt=did+not cant=can+not+cannot wont=will+not isnt=is+not aint=is+not wasnt=was+not",
    "youre=you+are theyre=they+are thats=that+is whats=what+is hes=he+is shes=she+is its=it+is itll=it+will gonna=going+to",
    "gunna=going+to gotta=got+have+to wanna=want+to lemme=let+me gimme=give+me dunno=do+not+know+don't kinda=kind+of sorta=sort+of",
    "outta=out+of hafta=have+to imma=i+am+going+to ima=i+am+going+to tryna=trying+to cuz=because coz=because cos=because cause=because",
    "bc=because b/c=because bcuz=because w/=with w=with w/o=without wo=without thx=thanks+thank tnx=thanks+thank ty=thank+you",
    "tks=thanks+thank thnx=thanks+thank thanx=thanks+thank thanks=thank thank=thanks pls=please plz=please ppl=people peeps=people",
    "tmrw=tomorrow tmr=tomorrow tomo=tomorrow 2moro=tomorrow 2day=today 2nite=tonight 2night=tonight tonite=tonight nite=night",
    "gn=good+night gm=good+morning bday=birthday b-day=birthday bf=boyfriend gf=girlfriend bff=best+friend fam=family sis=sister",
    "bro=brother luv=love lov=love gr8=great l8r=later l8=late m8=mate b4=before ya=you yah=you ye=you yer=your yo=your+year+old da=the",
    "dat=that dis=this dem=them dey=they tha=the teh=the bout=about til=until till=until thru=through tho=though enuf=enough",
    "altho=although nuff=enough sum=some somethin=something nothin=nothing nuthin=nothing shoulda=should+have coulda=could+have",
    "woulda=would+have musta=must+have idk=i+do+not+know+don't imo=in+my+opinion imho=in+my+opinion",
    "fyi=for+your+information btw=by+the+way omg=oh+my+god omfg=oh+my+god wtf=what+the+fuck wth=what+the+hell tbh=to+be+honest",
    "nvm=never+mind jk=just+kidding ttyl=talk+later asap=as+soon+as+possible aka=also+known+as rly=really srsly=seriously deffo=definitely",
    "def=definitely prob=probably+problem probs=probably+problems prolly=probably obv=obviously obvs=obviously ofc=of+course",
    "bcos=because hw=homework hmwk=homework fb=facebook yt=youtube ig=instagram insta=instagram tv=television pic=picture+photo",
    "pics=pictures+photos vid=video vids=videos info=information comp=computer congrats=congratulations grats=congratulations",
    "fav=favorite+favourite fave=favorite+favourite favs=favorites+favourites faves=favorites+favourites min=minute mins=minutes",
    "hr=hour hrs=hours sec=second secs=seconds yr=year yrs=years wk=week wks=weeks wknd=weekend mos=months lb=pound lbs=pounds",
    "rd=road st=street apt=apartment govt=government gov=government+governor pres=president dept=department uni=university",
    "prof=professor doc=doctor dr=doctor vs=against+versus nyc=new+york+city la=los+angeles sf=san+francisco dc=washington",
    "uk=united+kingdom us=united+states sumthin=something usa=united+states america=american jan=january feb=february mar=march",
    "apr=april aug=august sept=september sep=september oct=october nov=november dec=december mon=monday tue=tuesday tues=tuesday",
    "wed=wednesday weds=wednesday thu=thursday thur=thursday thurs=thursday fri=friday sat=saturday sun=sunday xmas=christmas",
    "x-mas=christmas bbq=barbecue dm=message msg=message msgs=messages txt=text fone=phone ph=phone cell=phone abt=about rt=retweet",
    "rn=right+now atm=at+the+moment ily=i+love+you ilu=i+love+you ilysm=i+love+you wbu=what+about+you hbu=how+about+you",
    "hmu=hit+me+up tix=tickets sesh=session approx=approximately yep=yes yup=yes yeah=yes yea=yes yess=yes nope=no nah=no naw=no",
    "sooo=so sry=sorry soz=sorry biz=business mtg=meeting amt=amount avg=average est=established esp=especially etc=others fwd=forward",
    "gd=good hv=have hav=have wat=what wut=what wen=when wer=were no1=nobody any1=anyone some1=someone every1=everyone ne1=anyone",
    "kno=know knw=know noe=know jus=just cld=could wld=would shld=should nxt=next lst=last lil=little lol=laughing lmao=laughing",
    "rofl=laughing haha=laughing fml=life smh=shaking tx=thanks+thank mum=mother mom=mother dad=father lvl=level lvls=levels pt=point",
    "pts=points pkwy=parkway blvd=boulevard assc=association assn=association",
    "flt=flight flts=flights flght=flight pax=passenger+passengers psgr=passenger bz=business biz=business tkt=ticket",
    "tkts=tickets conf=confirmation+confirmed sld=sold cnceld=cancelled cncld=cancelled cncled=cancelled cxl=cancelled+cancel",
    "cxld=cancelled canx=cancelled refsd=refused fnd=found bng=being aftr=after bag=baggage+luggage bags=baggage+luggage",
    "csr=representative",
    "rep=representative reps=representatives cust=customer svc=service serv=service intl=international natl=national",
    "mgr=manager mgmt=management appt=appointment acct=account temp=temperature asst=assistant ext=extension ppl=people attn=attention",
    "ff=frequent+flyer gma=grandma gpa=grandpa hosp=hospital univ=university mfg=manufacturing yest=yesterday ystrdy=yesterday",
    "meds=medicine 2gether=together sux=sucks+suck effin=fucking fckin=fucking fkn=fucking doco=documentary",
    "arvo=afternoon morn=morning q=queue+question q'd=queued a/c=conditioning",
    "diff=different+difference diffs=differences adv=advantage cond=condition docs=documents+doctors",
    "chem=chemistry mech=mechanical+mechanic pkg=package pkgs=packages bldg=building rsvn=reservation resv=reservation resvn=reservation",
    "pmt=payment pymt=payment cam=camera fab=fabulous 2morrow=tomorrow 2mrw=tomorrow 2mro=tomorrow sposed=supposed sposta=supposed+to",
    "cmon=come+on c'mon=come+on mt=mount+mountain mtn=mountain ave=avenue hwy=highway exec=executive execs=executives",
    "jr=junior sr=senior capt=captain sgt=sergeant sen=senator rev=reverend refi=refinance irl=real+life mo=month+moment cya=see+you",
    "sistah=sister sista=sister brotha=brother rip=rest+peace tech=technician+technology btwn=between",
    "w/in=within lv=level boyf=boyfriend hubby=husband reno=renovation veg=vegetable veggies=vegetables exam=examination lab=laboratory",
    "demo=demonstration ref=referee refs=referees ad=advertisement ads=advertisements sub=substitute subs=substitutes vet=veterinarian",
    "gov't=government int=international pg=page pgs=pages w/e=weekend bkfst=breakfast rez=reservation",
    "med=medicine+medical humm=hmm prez=president yds=yards gals=gallons qty=quantity",
    "orig=original reg=regular+regarding incl=including excl=excluding max=maximum gal=gallon",
)

IRREGULAR = {
    form: base
    for base, forms in _table(
        "see=saw+seen eat=ate+eaten make=made take=took+taken give=gave+given find=found think=thought buy=bought bring=brought",
        "catch=caught teach=taught feel=felt leave=left lose=lost keep=kept sleep=slept meet=met send=sent spend=spent tell=told",
        "sell=sold say=said pay=paid hear=heard know=knew+known grow=grew+grown throw=threw+thrown fly=flew+flown blow=blew+blown",
        "draw=drew+drawn drive=drove+driven ride=rode+ridden write=wrote+written rise=rose+risen break=broke+broken speak=spoke+spoken",
        "steal=stole+stolen wake=woke+woken choose=chose+chosen wear=wore+worn win=won run=ran begin=began+begun drink=drank+drunk",
        "sing=sang+sung swim=swam+swum ring=rang+rung come=came become=became fall=fell+fallen hold=held stand=stood sit=sat build=built",
        "fight=fought mean=meant forget=forgot+forgotten hide=hid+hidden lead=led read=read shoot=shot strike=struck good=better+best",
        "bad=worse+worst child=children man=men woman=women person=people foot=feet tooth=teeth life=lives wife=wives",
    ).items()
    for form in forms
}

NEGATION = _words(
    "not no never none nothing nobody nowhere neither nor without cannot cant dont doesnt didnt wont isnt arent wasnt werent havent",
    "hasnt hadnt wouldnt shouldnt couldnt aint hardly barely scarcely noone nae nuthin nuffin nothin nada zilch neva nvr",
    "idk dunno",
)

DENIALS = _words(
    "lack lacks lacked lacking fail fails failed failing failure refuse refuses refused refusing deny denies denied denying decline",
    "declines",
    "declined unable impossible incapable zero prevent prevents prevented unavailable",
)
"""Verbs and adjectives that deny what follows, as `lacks`, `failed to` and `unable` do."""

WEAK_DENIALS = _words(
    "few fewer little less bad badly poor poorly stop stops stopped end ends ended drop drops dropped cancel cancels cancelled",
    "canceled avoid missing",
    "avoids avoided miss misses missed lose loses lost only rarely seldom nearly almost forbid forbids forbidden useless notbut",
)
"""They may stand for a denial ("too few seats" for "no seats"), and are none by themselves."""

OPPOSITES = {
    "always": _words("never"), "everything": _words("nothing"), "everybody": _words("nobody noone no none"),
    "everyone": _words("nobody noone no none"), "everywhere": _words("nowhere"),
}  # fmt: skip
"""What says the contrary of a negation: in an output alone it turns the tweet round."""

INTERJECTED_NO = _words(
    "that that's thats it it's its i i'm im i've we we're you you're he he's she she's they they're this there there's but and just lol",
    "haha sorry thanks thank please yes no sir dude man bro",
)
"""What follows a `no` that answers somebody and denies nothing of its sentence."""

MARKS = {
    "$": ("dollar", "dollars", "usd"), "£": ("pound", "pounds", "gbp"), "€": ("euro", "euros", "eur"), "¥": ("yen",),
    "¢": ("cent", "cents"), "%": ("percent",), "=": ("equal", "equals"), "+": ("plus", "more", "over"), "°": ("degree", "degrees"),
    "#": ("number",), "<": ("under", "less"), ">": ("over", "more"),
}  # fmt: skip
"""Marks of a tweet and the words that they are read as."""

UNITS = _table(
    "h=hour+hours hr=hour+hours hrs=hour+hours m=minute+minutes+meter+million min=minute+minutes mins=minute+minutes s=second+seconds",
    "sec=second+seconds d=day+days w=week+weeks wk=week+weeks wks=week+weeks mo=month+months mos=month+months y=year+years yr=year+years",
    "yrs=year+years yo=year+years+old y/o=year+years+old k=thousand km=kilometer+kilometers+kilometre+kilometres mi=mile+miles",
    "ft=foot+feet",
    "in=inch+inches oz=ounce+ounces ozs=ounce+ounces lb=pound+pounds lbs=pounds kg=kilo+kilos+kilogram+kilograms g=gram+grams mph=miles",
    "am=morning pm=evening+afternoon+night p=pence x=times gb=gigabytes mb=megabytes bn=billion mil=million mm=million",
)
"""What stands right after a number, and its words."""

NUMBERED_PLACES = _table("ch=chapter+channel p=page pp=pages vol=volume ep=episode fl=floor rm=room no=number")
"""What stands right before a number, and its words."""

COMPASS = _table("NE=northeast NW=northwest SE=southeast SW=southwest")

TIMES = _words("am pm")

OPENERS = _words(
    "despite although though several others many most some few more less another regarding concerning beside besides instead rather",
    "overall",
    "meanwhile however therefore thus hence perhaps maybe apparently obviously clearly sadly luckily hopefully unfortunately finally",
    "actually",
    "recently today tomorrow yesterday tonight yeah yep yup yay nah nope hmm hm ooh oh ah aw aww wow woo woohoo ugh hey hi hello huh good",
    "great best bad nice nobody everybody none nothing everything people somebody only even still already almost nearly once twice never",
    "always often sometimes together alone later earlier soon here there people fewer whoever whatever wherever",
)
"""Words that begin a sentence with a capital and are no names."""

SAYING = _words("say says said saying tell tells told ask asks asked report reports reported write writes wrote announce announced")
"""How a summary tells who is quoted."""

HEDGES = _words(
    "if unless might maybe may perhaps probably possibly likely hopefully hope hoping hopes wish wishing could would should seems seem",
    "apparently supposedly allegedly reportedly almost nearly guess suppose think unsure prolly prob wonder wondering",
)

FIRST_PERSON = _words("i me my mine myself i'm im i've ive i'll i'd we us our ours ourselves we're we've we'll we'd")
SECOND_PERSON = _words("you your yours yourself u ur ya you're youre you've you'll you'd")

OPEN_ENDINGS = _words(
    "a an the and or but nor because of my your our their if than as very is am are was were be been being from into onto per via",
    "i so while although though until unless since i'm you're we're they're it's i've we've i'll we'll its whose every to with at by",
)
"""Words on which a finished sentence hardly ever ends."""

DEGREES = _words(
    "usually normally generally always often only just also even very mostly mainly about almost nearly probably currently so too quite"
)
"""Adverbs that say of what follows how much or how often."""

CONJUNCTIONS = _words(
    "and or but nor so yet because as if though although while since until unless when where who which that then than before after",
    "how what why whether with",
)
"""Words that may join two clauses, in their wider sense."""

PREPOSITIONS = _words(
    "of in on at by for from with to into onto over under about after before during without within against per via through across as like",
    "than near behind between among despite at off around toward towards upon beside minus plus vs",
)

AUXILIARIES = _words(
    "is are was were am be been being has have had do does did will would can could should may might isn't wasn't",
)

ANSWERS = _words("no nope nah yes yeah yep never nobody nothing because cuz maybe disagree agree")

LEAD_INS = _words(
    "ok okay k but so and well hey hi yo lol omg god wait um uh hmm like seriously honestly dude bro man guys oh no yes please pls"
)
"""Words that may stand before a question."""

SUBJECTS = _words(
    "i i'm im i've ive i'll i'd we we're we've we'll you you're youre u he he's she she's they they're they've it it's there there's",
    "nobody everybody everyone somebody someone anyone let's lets don't dont",
)
"""Words that begin a clause of their own."""

THIRD_PERSON = _words("he he's she she's they they're who")

DIARY = _words(
    "love hate like want need miss wish hope guess think feel know believe doubt suppose remember see hear can could will would should may",
    "might must have had am was got gotta wanna gonna just still also never always so not finally really cannot can't don't didn't won't",
    "enjoy appreciate thank thanks bet swear agree disagree understand prefer mean promise expect work live go get do did say",
    "went rather gosh",
)
"""Forms with which people begin a sentence about themselves without an `I`."""

TIMES_OF_DAY = _words(
    "today yesterday tonight tomorrow morning night evening afternoon weekend week month year day days hour hours minute minutes ago time",
    "times monday tuesday wednesday thursday friday saturday sunday once twice finally first second lol haha omg guys yes yeah no",
)
"""Words before a verb that are not its subject."""

UNCHANGED = _words("put read cut hit let set quit shut cost bet spread hurt beat split burst cast come become run")
"""Verbs whose past looks like what one tells others to do."""

POINTERS = _words(
    "it its it's that that's thats this these those they they're he he's she she's which there there's",
)
"""Pronouns that point to what another sentence is about."""

CARRIERS = _words(
    "say says said saying tell tells told telling ask asks asked asking call calls called write writes wrote writing report reports",
    "reported claim claims claimed explain explains mention mentions mentioned describe describes take takes took taken taking put",
    "puts putting send sends sent sending make makes made making give gives gave given giving keep keeps kept keeping use uses used",
    "using find finds found finding leave leaves left leaving bring brings brought come comes came coming went gone show shows showed",
    "shown showing see sees saw seen seeing seem seems look looks looked become becomes became let lets mean means meant cause causes",
    "caused include includes including feel feels felt think thinks thought thinking know knows try tries tried trying want wants",
    "wanted need needs needed happen happens happened turn turns turned begin begins began start starts started continue continues",
    "continued stay stays stayed sit sits sat sitting stand stands stood face faces faced receive receives received involve involves",
    "involved cover covers covered add adds added people person man woman men women thing things way ways time times day part parts",
    "place places kind case lot bit something else especially among despite beside besides across along amid due regarding instead",
    "able sure really simply finally currently recently fully entirely completely",
)
"""Words that carry a sentence and add nothing to it: who says it, who does it."""

QUESTION_OPENERS = _words(
    "any1 anybody someone somebody some1 wanna whats whos wheres hows whys",
    "who whom whose what which when where why how do does did is are am was were can could will would should shall have has had may",
    "isn't aren't don't doesn't didn't can't won't anyone any",
)

NUMBERS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15", "sixteen": "16",
    "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20", "thirty": "30", "forty": "40", "fifty": "50",
    "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90", "hundred": "100", "thousand": "1000", "million": "1000000",
    "billion": "1000000000", "first": "1", "second": "2", "third": "3", "fourth": "4", "fifth": "5", "sixth": "6", "seventh": "7",
    "eighth": "8", "ninth": "9", "tenth": "10", "once": "1", "twice": "2", "half": "0.5", "dozen": "12",
}  # fmt: skip

AMBIGUOUS_NUMBERS = _words("one first second once half")
"""They also mean no number: `someone, at first, a second, once, half asleep`. In an output alone they are no new number."""

LAUGHTER = _words("lol lols lolz lmao lmfao rofl roflmao lmaoo haha hahaha hehe hehehe smh xoxo xd tehe teehee hahah hahahah muahaha")

DOUBLED = _words(
    "good too see all well been will still feel need week look keep school food free off sleep tell room call book soon full miss",
    "cool sweet hell kill fall fell ball small tall yell bell sell spell smell green cheers street meet feet seen deep door floor poor",
    "mood moon boo woo woohoo goodness foot wood coffee happy funny sorry dinner summer better little hello hurry worry pretty beer",
    "coffee tree three bee freezing boring running week weekend booo loser loose kiss less pass class boss mess bless dress cross loss",
    "glass grass add egg odd apple happen really finally tomorrow follow yellow follow swimming shopping sitting getting putting",
    "stopped rabbit puppy kitty silly bully jelly belly jolly holla bitter butter letter matter mommy daddy buddy nanny",
)
"""Common words with a doubled letter, so that an elongation is undone to the right one: goooood to good, sooo to so."""
