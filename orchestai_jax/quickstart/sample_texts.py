"""The words of the sample files: articles with their keywords, notes in two versions, letters in three languages."""

from __future__ import annotations

ARTICLE = """\
The Return of the Night Train

For a generation, the night train seemed finished. Cheap airlines offered the same trip in two hours, high-speed \
lines ate the most profitable routes, and the sleeping cars themselves grew old in the sidings of Europe. By 2016 \
the last large operator had announced that it would sell its sleepers for scrap. Few people outside the railway \
noticed.

What happened next surprised even the railways. The Austrian operator bought forty-two of the discarded sleeping \
cars, repainted them, and ran them on the routes that its neighbour had given up. Passengers came back in the \
first year. By the third year, berths on the line between Vienna and Rome were sold out weeks before the holidays, \
and the operator ordered new sleeping cars for the first time in two decades.

Several things had changed at once. Travellers had begun to count the carbon of a flight, and a night train emits \
about a tenth of the carbon of an aeroplane over the same distance. Airports had moved further from the centres of \
their cities, and the queues at their gates had grown longer. A sleeping car, by contrast, leaves from the middle \
of one city in the evening and arrives in the middle of another in time for breakfast. The price of the berth \
replaces the price of a hotel.

Yet the economics of sleeping cars remain difficult. A seat in a daytime coach can be sold three or four times \
along a route; a berth is sold once a night. Every sleeping car needs staff, linen and water, and it must cross \
borders where signals, voltages and rules differ. Track fees are charged by the kilometre, and a night train runs \
many kilometres. Operators say that without lower track fees only a handful of routes will ever earn a profit.

Politicians have noticed the demand. The transport ministers of four countries signed an agreement to open new \
night routes between their capitals, and the parliament in Brussels has debated lower track fees for trains that \
cross more than one border. Critics answer that the money would reduce more carbon if it were spent on local \
trains, which carry far more people every day. Supporters reply that long journeys cause most of the carbon of \
travel, although they are few.

New sleeping cars will decide the argument. The coaches now being built replace the old shared compartments with \
small private cabins, one above the other, each with a door, a lamp and a window. They carry more passengers in \
the same length of train, which lowers the cost of every berth. If the cabins fill, the night train will be more \
than a fond memory; if they stay empty, the sidings will fill again. The first of the new trains leaves Hamburg \
this autumn.
"""

ARTICLE_KEYWORDS = "night train, sleeping cars, track fees, carbon, berth, operator, routes, cabins"

SCIENCE = """\
How Cities Cool Themselves

On a summer afternoon the centre of a large city can be eight degrees warmer than the fields around it. \
Meteorologists call this the urban heat island. Asphalt and brick take up sunlight all day and give it back as \
heat at night, engines and air conditioners add their own warmth, and tall streets keep the wind away. The urban \
heat island is not only a nuisance: during heat waves, most deaths happen at night in houses that never cool down.

The oldest remedy is the tree. A grown street tree evaporates a hundred litres of water on a hot day, which takes \
as much heat from the air as several air conditioners. Its shade keeps the pavement twenty degrees cooler. \
Measurements in ninety cities show that surface temperature falls by about one degree for every tenth of the \
ground that lies under street trees. But a street tree needs soil, water and thirty years.

A quicker remedy is paint. A cool roof is covered with a white or reflecting coat that sends most of the sunlight \
back to the sky. In a field study, a cool roof was thirty degrees cooler than a black one beside it, and the rooms \
below needed a fifth less electricity. Cool roofs lose their brightness to dust, however, and must be washed or \
painted again every few years. In cold climates they raise the cost of heating a little.

Water is the third remedy. Cities from Seoul to Aarhus have opened buried rivers, and the air along an open river \
is two degrees cooler in the afternoon. Green roofs, which hold rain in a layer of soil, cool by evaporation as \
trees do, and they slow the floods that heavy rain brings to paved ground.

Which remedy is best depends on the street. Planners now use heat maps made from satellite images to find the \
blocks where surface temperature is highest and where old people live alone. There, street trees are planted \
first. On wide flat roofs, cool roofs give the most for the money. The heat maps also show an injustice: the \
poorest districts of most cities have the fewest trees and the highest surface temperature, and it is there that \
every degree counts most.
"""

SCIENCE_KEYWORDS = (
    "urban heat island, street trees, cool roof, surface temperature, heat maps, water, evaporation, cities"
)

RECIPE = """\
Bread from a sourdough starter needs time rather than work. Feed the sourdough starter in the evening with equal \
weights of flour and water, and leave it in a warm place. In the morning it should have doubled, and a spoonful of \
it should float in water. A starter that sinks needs another feeding.

Mix the active starter with flour, water and salt to a soft dough. Wet your hands and fold the dough four times, \
once every half hour; folding builds the gluten that kneading would build. Bulk fermentation then takes four to \
six hours, depending on the warmth of the kitchen. The dough is ready when it has grown by half and trembles when \
the bowl is moved.

Shape the loaf on a floured board, and let it rest overnight in the refrigerator. The cold slows the fermentation \
and gives the crust its flavour. Heat the oven with a heavy pot in it to its highest temperature. Score the loaf, \
put it in the hot pot, and close the lid, which keeps the steam near the crust. After twenty minutes take off the \
lid and bake the loaf until the crust is dark. Let the bread cool for an hour before you cut it, however good it \
smells.
"""

RECIPE_KEYWORDS = "sourdough starter, dough, bulk fermentation, loaf, crust, bread, flour, gluten"

NOTES = """\
# Launch meeting, 14 May

Present: **Ada**, *Bela*, Chidi and Dora.

## Decisions

1. The beta opens on 2 June for 200 users.
2. Prices stay as they are until the autumn.
3. The old importer is removed in version 2.0.

## Open points

- Who writes the release notes?
- The login page is slow on phones:
  - measure it first
  - then decide about caching
- Translate the help pages, see <the list> at [the wiki](https://wiki.example.org/help).

| Task          | Owner | Due    |
|---------------|-------|--------|
| Release notes | Dora  | 20 May |
| Load test     | Bela  | 24 May |

> Done is better than perfect, but measured is better than done.

```python
def ready(users):
    return users <= 200 and "tests pass"
```

Next meeting: 21 May at 10:00 in room `B2`.
"""

NOTES_V2 = (
    NOTES.replace("2 June for 200 users", "9 June for 500 users")
    .replace("- Who writes the release notes?\n", "")
    .replace(
        "| Load test     | Bela  | 24 May |", "| Load test     | Chidi | 28 May |\n| Help pages    | Ada   | 30 May |"
    )
    .replace("users <= 200", "users <= 500")
)

CONTACTS = """\
Dear team,

the workshop takes place on 2025-09-12 in the library. Please register with Maria Lopez (maria.lopez@example.org \
or +34 91 555 01 42) or with the front desk at desk@library.example.com, phone (020) 7946-0958. The programme is \
at https://library.example.com/workshop?year=2025 and directions are at www.example.net/map. If you are late, call \
the caretaker, Jan, at 0171 555 0199; for anything else write to jan+workshop@mail.example.co.uk.

Room 204 holds 45 people, and lunch costs 12.50 a head.
"""

GERMAN = """\
Liebe Grosseltern, wir sind gestern Abend gut in den Bergen angekommen. Das Haus liegt am Rand eines kleinen \
Dorfes, und von unserem Fenster sieht man den See und die ersten Gipfel, auf denen noch Schnee liegt. Heute sind \
wir mit den Kindern durch den Wald gewandert und haben einen Fuchs gesehen. Morgen wollen wir mit dem Boot auf die \
Insel fahren, wenn das Wetter so bleibt. Wir hoffen, dass es euch gut geht, und freuen uns auf den Besuch im \
Herbst.
"""

FRENCH = """\
Chers amis, nous sommes arrivés hier soir dans la petite maison que nous avons louée près de la mer. Le village \
est très calme, il y a un marché le samedi, et le boulanger ouvre avant le lever du soleil. Les enfants passent \
leurs journées sur la plage, et nous lisons dans le jardin. Demain nous irons visiter le château avec nos voisins. \
Nous pensons à vous et nous espérons vous voir bientôt chez nous.
"""

SPANISH = "El tren llega a las ocho de la tarde y no hay otro hasta mañana."

POLISH = "Jutro rano pojedziemy nad jezioro, jeśli nie będzie padać."

TEXT_FILES: dict[str, str] = {
    "article.txt": ARTICLE,
    "article.keywords.txt": ARTICLE_KEYWORDS + "\n",
    "science.txt": SCIENCE,
    "science.keywords.txt": SCIENCE_KEYWORDS + "\n",
    "recipe.txt": RECIPE,
    "recipe.keywords.txt": RECIPE_KEYWORDS + "\n",
    "notes.md": NOTES,
    "notes_v2.md": NOTES_V2,
    "contacts.txt": CONTACTS,
    "letter.de.txt": GERMAN,
    "letter.fr.txt": FRENCH,
    "ticket.es.txt": SPANISH + "\n",
    "postcard.pl.txt": POLISH + "\n",
}
"""File name → content. `X.keywords.txt` holds the keywords that a person gave X; `X.de.txt` is in German, and so on."""
