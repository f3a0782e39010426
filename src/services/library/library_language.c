/* Language codes: what sources write, and the one code the library keeps for it (ISO 639-1 where there is one, else 639-3). */
#include "services/library/library_book.h"

#include <stdlib.h>
#include <string.h>

/* Sorted by the first column: it is searched by halves. */
typedef struct {
    char written[4];
    char kept[4];
} language_code_t;

static const language_code_t codes[] = {
    /* clang-format off */
    {"ab", "ab"}, {"abk", "ab"}, {"af", "af"}, {"afr", "af"}, {"ak", "ak"}, {"aka", "ak"}, {"akk", "akk"},
    {"alb", "sq"}, {"am", "am"}, {"amh", "am"}, {"an", "an"}, {"ang", "ang"}, {"ar", "ar"}, {"ara", "ar"},
    {"arc", "arc"}, {"arg", "an"}, {"arm", "hy"}, {"as", "as"}, {"asm", "as"}, {"ast", "ast"}, {"ay", "ay"},
    {"aym", "ay"}, {"az", "az"}, {"aze", "az"}, {"ba", "ba"}, {"bak", "ba"}, {"bam", "bm"}, {"baq", "eu"},
    {"be", "be"}, {"bel", "be"}, {"ben", "bn"}, {"bg", "bg"}, {"bi", "bi"}, {"bis", "bi"}, {"bm", "bm"}, {"bn", "bn"},
    {"bo", "bo"}, {"bod", "bo"}, {"bos", "bs"}, {"br", "br"}, {"bre", "br"}, {"bs", "bs"}, {"bul", "bg"},
    {"bur", "my"}, {"ca", "ca"}, {"cat", "ca"}, {"ce", "ce"}, {"ces", "cs"}, {"che", "ce"}, {"chi", "zh"},
    {"chu", "chu"}, {"chv", "cv"}, {"cnr", "cnr"}, {"co", "co"}, {"cop", "cop"}, {"cor", "kw"}, {"cos", "co"},
    {"cr", "cr"}, {"cre", "cr"}, {"cs", "cs"}, {"cv", "cv"}, {"cy", "cy"}, {"cym", "cy"}, {"cze", "cs"}, {"da", "da"},
    {"dan", "da"}, {"de", "de"}, {"deu", "de"}, {"div", "dv"}, {"dut", "nl"}, {"dv", "dv"}, {"dz", "dz"},
    {"dzo", "dz"}, {"ee", "ee"}, {"egy", "egy"}, {"el", "el"}, {"ell", "el"}, {"en", "en"}, {"eng", "en"},
    {"enm", "enm"}, {"eo", "eo"}, {"epo", "eo"}, {"es", "es"}, {"est", "et"}, {"et", "et"}, {"eu", "eu"},
    {"eus", "eu"}, {"ewe", "ee"}, {"fa", "fa"}, {"fao", "fo"}, {"fas", "fa"}, {"ff", "ff"}, {"fi", "fi"},
    {"fij", "fj"}, {"fil", "fil"}, {"fin", "fi"}, {"fj", "fj"}, {"fo", "fo"}, {"fr", "fr"}, {"fra", "fr"},
    {"fre", "fr"}, {"frm", "frm"}, {"fro", "fro"}, {"fry", "fy"}, {"ful", "ff"}, {"fy", "fy"}, {"ga", "ga"},
    {"gd", "gd"}, {"geo", "ka"}, {"ger", "de"}, {"gl", "gl"}, {"gla", "gd"}, {"gle", "ga"}, {"glg", "gl"},
    {"glv", "gv"}, {"gmh", "gmh"}, {"gn", "gn"}, {"goh", "goh"}, {"got", "got"}, {"grc", "grc"}, {"gre", "el"},
    {"grn", "gn"}, {"gu", "gu"}, {"guj", "gu"}, {"gv", "gv"}, {"ha", "ha"}, {"hat", "ht"}, {"hau", "ha"},
    {"haw", "haw"}, {"he", "he"}, {"heb", "he"}, {"hi", "hi"}, {"hin", "hi"}, {"hr", "hr"}, {"hrv", "hr"},
    {"ht", "ht"}, {"hu", "hu"}, {"hun", "hu"}, {"hy", "hy"}, {"hye", "hy"}, {"ia", "ia"}, {"ibo", "ig"},
    {"ice", "is"}, {"id", "id"}, {"ido", "io"}, {"ig", "ig"}, {"iku", "iu"}, {"ina", "ia"}, {"ind", "id"},
    {"io", "io"}, {"is", "is"}, {"isl", "is"}, {"it", "it"}, {"ita", "it"}, {"iu", "iu"}, {"ja", "ja"}, {"jav", "jv"},
    {"jpn", "ja"}, {"jv", "jv"}, {"ka", "ka"}, {"kal", "kl"}, {"kan", "kn"}, {"kas", "ks"}, {"kat", "ka"},
    {"kaz", "kk"}, {"khm", "km"}, {"kin", "rw"}, {"kir", "ky"}, {"kk", "kk"}, {"kl", "kl"}, {"km", "km"},
    {"kn", "kn"}, {"ko", "ko"}, {"kor", "ko"}, {"ks", "ks"}, {"ku", "ku"}, {"kur", "ku"}, {"kw", "kw"}, {"ky", "ky"},
    {"la", "la"}, {"lao", "lo"}, {"lat", "la"}, {"lav", "lv"}, {"lb", "lb"}, {"lg", "lg"}, {"lin", "ln"},
    {"lit", "lt"}, {"ln", "ln"}, {"lo", "lo"}, {"lt", "lt"}, {"ltg", "ltg"}, {"ltz", "lb"}, {"lug", "lg"},
    {"lv", "lv"}, {"mac", "mk"}, {"mal", "ml"}, {"mao", "mi"}, {"mar", "mr"}, {"may", "ms"}, {"mg", "mg"},
    {"mga", "mga"}, {"mi", "mi"}, {"mk", "mk"}, {"mkd", "mk"}, {"ml", "ml"}, {"mlg", "mg"}, {"mlt", "mt"},
    {"mn", "mn"}, {"mon", "mn"}, {"mr", "mr"}, {"mri", "mi"}, {"ms", "ms"}, {"msa", "ms"}, {"mt", "mt"},
    {"mul", "mul"}, {"my", "my"}, {"mya", "my"}, {"nap", "nap"}, {"nav", "nv"}, {"nb", "nb"}, {"ne", "ne"},
    {"nep", "ne"}, {"nl", "nl"}, {"nld", "nl"}, {"nn", "nn"}, {"nno", "nn"}, {"no", "no"}, {"nob", "nb"},
    {"non", "non"}, {"nor", "no"}, {"nv", "nv"}, {"ny", "ny"}, {"nya", "ny"}, {"oc", "oc"}, {"oci", "oc"},
    {"om", "om"}, {"or", "or"}, {"ori", "or"}, {"orm", "om"}, {"os", "os"}, {"oss", "os"}, {"ota", "ota"},
    {"pa", "pa"}, {"pan", "pa"}, {"peo", "peo"}, {"per", "fa"}, {"phn", "phn"}, {"pi", "pi"}, {"pl", "pl"},
    {"pli", "pi"}, {"pol", "pl"}, {"por", "pt"}, {"pro", "pro"}, {"ps", "ps"}, {"pt", "pt"}, {"pus", "ps"},
    {"qu", "qu"}, {"que", "qu"}, {"rm", "rm"}, {"rn", "rn"}, {"ro", "ro"}, {"roh", "rm"}, {"ron", "ro"}, {"ru", "ru"},
    {"rum", "ro"}, {"run", "rn"}, {"rus", "ru"}, {"rw", "rw"}, {"sa", "sa"}, {"sag", "sg"}, {"san", "sa"},
    {"sc", "sc"}, {"scn", "scn"}, {"sco", "sco"}, {"sd", "sd"}, {"se", "se"}, {"sg", "sg"}, {"sga", "sga"},
    {"si", "si"}, {"sin", "si"}, {"sk", "sk"}, {"sl", "sl"}, {"slk", "sk"}, {"slo", "sk"}, {"slv", "sl"},
    {"sm", "sm"}, {"sme", "se"}, {"smo", "sm"}, {"sn", "sn"}, {"sna", "sn"}, {"snd", "sd"}, {"so", "so"},
    {"som", "so"}, {"sot", "st"}, {"spa", "es"}, {"sq", "sq"}, {"sqi", "sq"}, {"sr", "sr"}, {"srd", "sc"},
    {"srp", "sr"}, {"st", "st"}, {"su", "su"}, {"sun", "su"}, {"sux", "sux"}, {"sv", "sv"}, {"sw", "sw"},
    {"swa", "sw"}, {"swe", "sv"}, {"syr", "syr"}, {"ta", "ta"}, {"tah", "ty"}, {"tam", "ta"}, {"tat", "tt"},
    {"te", "te"}, {"tel", "te"}, {"tg", "tg"}, {"tgk", "tg"}, {"tgl", "tl"}, {"th", "th"}, {"tha", "th"},
    {"ti", "ti"}, {"tib", "bo"}, {"tir", "ti"}, {"tk", "tk"}, {"tl", "tl"}, {"tn", "tn"}, {"to", "to"}, {"ton", "to"},
    {"tr", "tr"}, {"ts", "ts"}, {"tsn", "tn"}, {"tso", "ts"}, {"tt", "tt"}, {"tuk", "tk"}, {"tur", "tr"},
    {"ty", "ty"}, {"ug", "ug"}, {"uig", "ug"}, {"uk", "uk"}, {"ukr", "uk"}, {"ur", "ur"}, {"urd", "ur"}, {"uz", "uz"},
    {"uzb", "uz"}, {"ve", "ve"}, {"vec", "vec"}, {"ven", "ve"}, {"vi", "vi"}, {"vie", "vi"}, {"wel", "cy"},
    {"wo", "wo"}, {"wol", "wo"}, {"xh", "xh"}, {"xho", "xh"}, {"yi", "yi"}, {"yid", "yi"}, {"yo", "yo"},
    {"yor", "yo"}, {"za", "za"}, {"zh", "zh"}, {"zha", "za"}, {"zho", "zh"}, {"zu", "zu"}, {"zul", "zu"},
    /* clang-format on */
};

static int compare_code(const void *key, const void *row) {
    return strcmp(key, ((const language_code_t *)row)->written);
}

const char *library_language_read(const char *text) {
    /* The language of a tag is what stands before its first hyphen (RFC 5646): en-US is English. */
    char code[4];
    size_t length = 0;
    for (; text[length] != '\0' && text[length] != '-' && text[length] != '_'; length++) {
        if (length == 3) return NULL;
        char c = text[length];
        if (c >= 'A' && c <= 'Z') c = (char)(c + ('a' - 'A'));
        code[length] = c;
    }
    code[length] = '\0';
    const language_code_t *row = bsearch(code, codes, sizeof(codes) / sizeof(codes[0]), sizeof(codes[0]), compare_code);
    return row == NULL ? NULL : row->kept;
}
