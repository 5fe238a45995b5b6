"""A short text and the commonest words of fourteen languages, for telling languages apart."""

from __future__ import annotations

STOP_WORDS: dict[str, str] = {
    "English": "the and of to in is that it was for on are with as this be at have from not they by you we but or had",
    "German": "der die und das ist nicht ein eine zu den mit von auf für sich dem des im auch es wir ich sie haben",
    "French": "le la les et des est une un que dans pour qui sur pas au plus par avec nous ce il elle sont vous être",
    "Spanish": "el la los las de que y en un una es por con para no se del lo como más pero su al este está son hay",
    "Italian": "il lo la gli le di che e un una è per con non si del della sono come più ma anche nel alla questo dei",
    "Portuguese": "o a os as de que e do da em um uma é para com não se na no por mais dos como mas foi ao ele são",
    "Dutch": "de het een en van is dat niet op te zijn met voor in aan er maar om ook als bij ze wordt naar door hij",
    "Swedish": "och att det i en som är på av för med den till inte om ett har de jag var men vi från han kan så eller",
    "Danish": "og at det i en som er på af for med den til ikke om et har de jeg var men vi fra han kan så eller blev",
    "Polish": "i w nie na się jest z że do to o jak ale po od za co dla są przez tak był może tego jego jeśli będzie",
    "Czech": "a se v na je že to s z do o i jako ale za by pro tak po od jsou který ve když jeho byl není nebo jsem",
    "Finnish": "ja on ei se että oli en hän mutta niin kun ovat joka tämä myös kuin olla sen mitä jos ole voi hänen",
    "Turkish": "ve bir bu da de için ile çok ne var daha gibi olarak kadar ama o ben en değil sonra olan her mi ki biz",
    "Russian": "и в не на что я с он как это по но они мы она так его за был от из у же для вы то все бы о к",
}
"""Language → its commonest words."""

SAMPLES: dict[str, str] = {
    "English": (
        "All human beings are born free and equal in dignity and rights. They are endowed with reason and "
        "conscience and should act towards one another in a spirit of brotherhood. Everyone has the right to "
        "life, liberty and security of person. No one shall be held in slavery. When the weather is good we walk "
        "through the wood to the lake, and the children play there until it gets dark. What would you like to "
        "drink? There is nothing left in the house."
    ),
    "German": (
        "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
        "begabt und sollen einander im Geist der Brüderlichkeit begegnen. Jeder hat das Recht auf Leben, Freiheit "
        "und Sicherheit der Person. Niemand darf in Sklaverei gehalten werden. Wenn das Wetter schön ist, gehen "
        "wir durch den Wald zum See, und die Kinder spielen dort, bis es dunkel wird. Was möchten Sie trinken? Es "
        "ist nichts mehr im Haus."
    ),
    "French": (
        "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
        "conscience et doivent agir les uns envers les autres dans un esprit de fraternité. Tout individu a droit "
        "à la vie, à la liberté et à la sûreté de sa personne. Quand il fait beau, nous allons au lac par la "
        "forêt, et les enfants y jouent jusqu'à la nuit. Que voulez-vous boire ? Il ne reste plus rien dans la "
        "maison."
    ),
    "Spanish": (
        "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
        "conciencia, deben comportarse fraternalmente los unos con los otros. Todo individuo tiene derecho a la "
        "vida, a la libertad y a la seguridad de su persona. Cuando hace buen tiempo vamos por el bosque hasta el "
        "lago, y los niños juegan allí hasta que anochece. ¿Qué quiere usted beber? Ya no queda nada en la casa."
    ),
    "Italian": (
        "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di "
        "coscienza e devono agire gli uni verso gli altri in spirito di fratellanza. Ogni individuo ha diritto "
        "alla vita, alla libertà ed alla sicurezza della propria persona. Quando il tempo è bello andiamo al lago "
        "attraverso il bosco, e i bambini giocano là fino a sera. Che cosa vuole bere? In casa non è rimasto più "
        "niente."
    ),
    "Portuguese": (
        "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de "
        "consciência, devem agir uns para com os outros em espírito de fraternidade. Todas as pessoas têm direito "
        "à vida, à liberdade e à segurança pessoal. Quando faz bom tempo, vamos pela floresta até ao lago, e as "
        "crianças brincam lá até anoitecer. O que você quer beber? Não há mais nada em casa."
    ),
    "Dutch": (
        "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand en "
        "geweten, en behoren zich jegens elkander in een geest van broederschap te gedragen. Een ieder heeft "
        "recht op leven, vrijheid en onschendbaarheid van zijn persoon. Als het mooi weer is lopen we door het "
        "bos naar het meer, en de kinderen spelen daar tot het donker wordt. Wat wilt u drinken? Er is niets meer "
        "in huis."
    ),
    "Swedish": (
        "Alla människor är födda fria och lika i värde och rättigheter. De har utrustats med förnuft och samvete "
        "och bör handla gentemot varandra i en anda av gemenskap. Var och en har rätt till liv, frihet och "
        "personlig säkerhet. När vädret är vackert går vi genom skogen till sjön, och barnen leker där tills det "
        "blir mörkt. Vad vill ni dricka? Det finns ingenting kvar i huset."
    ),
    "Danish": (
        "Alle mennesker er født frie og lige i værdighed og rettigheder. De er udstyret med fornuft og "
        "samvittighed, og de bør handle mod hverandre i en broderskabets ånd. Enhver har ret til liv, frihed og "
        "personlig sikkerhed. Når vejret er godt, går vi gennem skoven til søen, og børnene leger der, til det "
        "bliver mørkt. Hvad vil De drikke? Der er ikke noget tilbage i huset."
    ),
    "Polish": (
        "Wszyscy ludzie rodzą się wolni i równi w swojej godności i prawach. Są obdarzeni rozumem i sumieniem i "
        "powinni postępować wobec innych w duchu braterstwa. Każdy człowiek ma prawo do życia, wolności i "
        "bezpieczeństwa swej osoby. Kiedy jest ładna pogoda, idziemy przez las nad jezioro, a dzieci bawią się "
        "tam, aż się ściemni. Czego się pan napije? W domu nie ma już nic."
    ),
    "Czech": (
        "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím a "
        "mají spolu jednat v duchu bratrství. Každý má právo na život, svobodu a osobní bezpečnost. Když je "
        "hezky, jdeme lesem k jezeru a děti si tam hrají, dokud se nesetmí. Co si dáte k pití? V domě už nic "
        "nezbylo."
    ),
    "Finnish": (
        "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki ja "
        "omatunto, ja heidän on toimittava toisiaan kohtaan veljeyden hengessä. Kullakin yksilöllä on oikeus "
        "elämään, vapauteen ja henkilökohtaiseen turvallisuuteen. Kun sää on kaunis, kävelemme metsän läpi "
        "järvelle, ja lapset leikkivät siellä kunnes tulee pimeä. Mitä haluatte juoda? Talossa ei ole enää "
        "mitään."
    ),
    "Turkish": (
        "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve "
        "birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler. Yaşamak, hürriyet ve kişi emniyeti her "
        "ferdin hakkıdır. Hava güzel olduğunda ormandan geçerek göle gideriz ve çocuklar hava kararana kadar "
        "orada oynar. Ne içmek istersiniz? Evde hiçbir şey kalmadı."
    ),
    "Russian": (
        "Все люди рождаются свободными и равными в своём достоинстве и правах. Они наделены разумом и совестью и "
        "должны поступать в отношении друг друга в духе братства. Каждый человек имеет право на жизнь, на свободу "
        "и на личную неприкосновенность. Когда погода хорошая, мы идём через лес к озеру, и дети играют там, пока "
        "не стемнеет. Что вы хотите выпить? В доме ничего не осталось."
    ),
}
"""Language → Article 1 of the Universal Declaration of Human Rights and a few everyday sentences."""

CODES: dict[str, str] = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "nl": "Dutch",
    "sv": "Swedish",
    "da": "Danish",
    "pl": "Polish",
    "cs": "Czech",
    "fi": "Finnish",
    "tr": "Turkish",
    "ru": "Russian",
}
"""ISO 639-1 code → language."""
