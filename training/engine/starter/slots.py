"""What fills the open slots of the starter grammar: things, places, and small tables that link them."""

RELATIVES = ("mother", "father", "sister", "brother", "aunt", "uncle")

# The first ingredient decides the dish.
DISHES = {
    "rice": "a pan of fried rice",
    "eggs": "an omelette",
    "pasta": "a simple pasta dish",
    "potatoes": "a potato pan",
    "bread": "warm toast",
    "lentils": "a thick soup",
    "noodles": "a noodle soup",
}
EXTRAS = ("spinach", "mushrooms", "cheese", "tomatoes", "carrots", "beans", "peas", "onions")
SPICES = ("salt and pepper", "a little garlic", "fresh parsley", "some lemon", "a pinch of curry", "dried herbs")

GIFTS = {
    "gardening": ("a pair of good gloves", "a rose bush", "a book about herbs"),
    "cooking": ("a sharp knife", "a box of spices", "a cookbook"),
    "reading": ("a novel", "a small lamp", "a card for the book shop"),
    "music": ("two concert tickets", "good headphones", "an old record"),
    "hiking": ("warm socks", "a map of the hills", "a light bottle"),
    "painting": ("a set of brushes", "a box of colours", "a visit to a museum"),
    "cycling": ("a bright lamp", "a good lock", "a rain jacket"),
    "tea": ("a pretty pot", "a box of green tea", "a jar of honey"),
}
PACKING = {
    "the mountains": ("warm socks", "a rain jacket", "good boots", "a map", "some bread"),
    "the beach": ("a towel", "sun cream", "a hat", "a book", "plenty of water"),
    "the city": ("light shoes", "a small bag", "a camera", "an umbrella", "a charger"),
    "the forest": ("long trousers", "a knife", "a torch", "strong shoes", "a bottle of water"),
    "the lake": ("a swimsuit", "a towel", "sandals", "a blanket", "some fruit"),
    "the north": ("a thick coat", "gloves", "a wool hat", "warm boots", "a thermos"),
}
TRANSPORT = {
    "train": ("calm", "you can read on the way"),
    "bus": ("cheap", "it stops close by"),
    "bicycle": ("healthy", "you are free to stop anywhere"),
    "car": ("handy", "you can carry a lot"),
    "tram": ("quick", "it comes every ten minutes"),
}
DESTINATIONS = ("museum", "station", "market", "zoo", "theatre", "hospital", "airport")
LISTS = {
    "fruits": ("apples", "pears", "plums", "cherries", "grapes", "lemons", "peaches"),
    "vegetables": ("carrots", "leeks", "beans", "peas", "onions", "cabbages", "beets"),
    "animals": ("foxes", "bears", "hares", "wolves", "otters", "owls", "deer"),
    "birds": ("robins", "swallows", "herons", "gulls", "eagles", "geese", "sparrows"),
    "trees": ("oaks", "birches", "pines", "maples", "willows", "beeches", "elms"),
    "flowers": ("roses", "tulips", "daisies", "poppies", "lilies", "violets", "asters"),
    "instruments": ("violins", "flutes", "drums", "guitars", "trumpets", "harps", "pianos"),
    "sports": ("running", "swimming", "tennis", "rowing", "football", "skiing", "judo"),
}
# What nobody should get help with, and what to offer instead.
REFUSALS = {
    "break into a car": "If it is your own car, a locksmith can open it.",
    "copy my classmate's exam": "I can help you make a plan for learning.",
    "scare my neighbour's dog": "I can help you write a friendly note to your neighbour.",
    "read my sister's diary": "If you worry about her, ask her how she is.",
    "steal a bicycle": "Many towns lend bicycles for little money.",
    "make my colleague look stupid": "If something went wrong between you, a calm talk may help.",
    "send a mean letter": "I can help you say what hurt you in a fair way.",
    "get a prescription without a doctor": "A doctor or a pharmacy can tell you what is safe.",
    "get into a concert without paying": "Some halls have cheap tickets on the last day.",
    "lie to my boss": "It is often easier to say honestly what happened.",
}
